"""The joint-embedding family: views, backbone, projector, predictor, objective."""
