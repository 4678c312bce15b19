"""Changes of an image whose kind is the label."""

from selfsup_vision.transformations.jigsaw import Jigsaw, JigsawConfig, permutation_set
from selfsup_vision.transformations.patch_position import PatchPosition, PatchPositionConfig
from selfsup_vision.transformations.rotation import Rotation, RotationConfig

__all__ = ["Jigsaw", "JigsawConfig", "PatchPosition", "PatchPositionConfig", "Rotation", "RotationConfig", "permutation_set"]
