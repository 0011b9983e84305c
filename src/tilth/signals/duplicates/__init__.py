"""Which records say the same thing?"""
