"""What a cell measured, as JSON files with a published schema."""
