"""Figures that the project holds itself to, each a ratio against a named floor, measured in one run."""
