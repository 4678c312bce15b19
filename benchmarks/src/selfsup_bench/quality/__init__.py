"""How good it is on real images: SimCLR against no training and against lightly, and all tasks at one budget."""
