"""How good is the text itself?"""
