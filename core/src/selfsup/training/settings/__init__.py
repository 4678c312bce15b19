"""Settings of a run as text (``--set key=value``): where they belong, what values they take, all there are."""
