"""Networks for recordings: on log-mel spectrograms, and on the waveform itself."""
