"""What should not be there, and what is it?"""
