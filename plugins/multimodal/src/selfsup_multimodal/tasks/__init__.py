"""Tasks with a recipe of their own."""
