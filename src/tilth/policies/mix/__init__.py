"""In what proportion?"""
