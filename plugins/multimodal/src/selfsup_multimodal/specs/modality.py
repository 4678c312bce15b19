"""The modality that joins others."""

from __future__ import annotations

from selfsup.specs import ModalitySpec

MODALITIES: tuple[ModalitySpec, ...] = ()
