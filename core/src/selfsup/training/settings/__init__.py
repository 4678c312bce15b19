"""Settings of a run as text (``--set key=value``): keys, values, and the list of all."""
