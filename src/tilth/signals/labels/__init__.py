"""Is a record's label right?"""
