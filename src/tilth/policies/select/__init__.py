"""Who is in?"""
