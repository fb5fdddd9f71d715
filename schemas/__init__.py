"""The tables' columns and their meaning, and the words that are stored in them."""
