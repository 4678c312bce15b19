"""Masked latent prediction: the targets are a teacher's representations. I-JEPA and data2vec."""

from selfsup.tasks.data2vec import Data2Vec, Data2VecConfig, data2vec_recipe
from selfsup.tasks.ijepa import IJEPA, IJEPAConfig, ijepa_recipe

__all__ = ["IJEPA", "Data2Vec", "Data2VecConfig", "IJEPAConfig", "data2vec_recipe", "ijepa_recipe"]
