"""Find the role of each column, and the kind of the labels."""
