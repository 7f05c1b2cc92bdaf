"""Tests run side by side, one a core: threads of their own, here or in the processes they start, would wait in line."""

import os

for library in ("OMP", "MKL", "OPENBLAS"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
