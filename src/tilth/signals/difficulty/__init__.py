"""How hard is a record, as shown by models while they learn?"""
