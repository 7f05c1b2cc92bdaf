"""Findings, profiles and tables as text, JSON and HTML; import the one that is needed, each brings its own library."""
