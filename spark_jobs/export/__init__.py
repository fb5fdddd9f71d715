"""What an export sends and removes, its record and its report. It never loads or inspects the model."""
