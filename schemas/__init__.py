"""The tables' columns, what they mean, and the words stored in them."""
