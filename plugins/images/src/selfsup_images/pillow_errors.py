"""Errors of Pillow, which the plugins of images and of videos read files with."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

READ_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow's file plugins raise on damaged files (most are ``OSError``, but not all)."""
