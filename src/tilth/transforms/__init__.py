"""Write: new records from records."""
