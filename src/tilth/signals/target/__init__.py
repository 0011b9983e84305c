"""How close is a record to the target?"""
