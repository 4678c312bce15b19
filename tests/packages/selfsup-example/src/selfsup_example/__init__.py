"""An example of a plugin: an objective and a command."""
