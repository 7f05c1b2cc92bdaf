"""The sections of `dynamical-isometry`."""
