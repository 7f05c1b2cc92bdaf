"""Measured ratios against named peers and floors."""
