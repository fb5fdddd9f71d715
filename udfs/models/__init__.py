"""From a model's name to its folder, inspected without loading it."""
