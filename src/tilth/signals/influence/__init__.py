"""What does learning from a record do to what the model gets right?"""
