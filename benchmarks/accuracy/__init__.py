"""What `check` and its peers say of the cases, over seeds: `make accuracy` writes docs/accuracy.md."""
