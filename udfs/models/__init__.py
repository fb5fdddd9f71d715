"""What a model folder contains, found out without loading it."""
