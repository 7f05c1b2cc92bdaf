"""The sections of `critical-gain`."""
