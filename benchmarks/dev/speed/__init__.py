"""How fast it is: each figure a ratio of medians, both sides measured in turn in one run on one machine."""
