"""What an export sends and removes, and its record. Never looks for the model."""
