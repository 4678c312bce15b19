"""The masked-modelling family: hide tokens, predict what they were."""
