"""Several modalities at once: rows of parts, each part of a modality of its own."""
