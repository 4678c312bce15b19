"""What is learned of each column of a table, and how its values become numbers and codes."""
