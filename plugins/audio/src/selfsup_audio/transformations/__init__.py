"""Changes of a recording whose kind is the label."""
