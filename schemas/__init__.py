"""What the tables look like and what each column means."""
