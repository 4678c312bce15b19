"""The multimodal plugin: rows that join parts of several modalities."""
