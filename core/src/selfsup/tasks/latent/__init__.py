"""Masked latent prediction: the targets are a teacher's representations. I-JEPA, V-JEPA and data2vec."""

from selfsup.tasks.latent.data2vec import Data2Vec, Data2VecConfig, data2vec_recipe
from selfsup.tasks.latent.ijepa import IJEPA, IJEPAConfig, ijepa_recipe
from selfsup.tasks.latent.vjepa import VJEPA, VJEPAConfig, vjepa_recipe

__all__ = [
    "IJEPA",
    "VJEPA",
    "Data2Vec",
    "Data2VecConfig",
    "IJEPAConfig",
    "VJEPAConfig",
    "data2vec_recipe",
    "ijepa_recipe",
    "vjepa_recipe",
]
