"""The pretext tasks of this plugin."""
