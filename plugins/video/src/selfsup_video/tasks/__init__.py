"""The recipes of this plugin's tasks."""
