"""From what a row holds to frames: files that FFmpeg reads, folders of frames, arrays; and a reason where it fails."""

from selfsup_video.decoding.values import Choose, decode, shorter_side

__all__ = ["Choose", "decode", "shorter_side"]
