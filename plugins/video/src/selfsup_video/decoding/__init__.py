"""From what a row holds to frames: files that FFmpeg reads, folders of frames, arrays; and a reason where it fails."""

from selfsup_video.decoding.files import Header
from selfsup_video.decoding.values import Choose, decode, read_header

__all__ = ["Choose", "Header", "decode", "read_header"]
