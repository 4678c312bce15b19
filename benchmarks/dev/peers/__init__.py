"""How good it is beside its peers: the same recipe here and with a peer's own parts."""
