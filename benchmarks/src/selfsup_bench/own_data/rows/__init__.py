"""Own data: its modality, how it is read, and how it is divided."""
