"""How good it is on real data: against no training, against raw features, against peers, task by task."""
