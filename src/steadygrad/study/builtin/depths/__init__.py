"""The sections of `trainable-depth`."""
