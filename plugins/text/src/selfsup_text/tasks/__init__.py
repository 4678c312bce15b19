"""Tasks of text: what the papers do otherwise than the core's objectives do by themselves, one task a file."""
