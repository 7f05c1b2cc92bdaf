"""Grids of networks: thousands at once, stored as they end."""
