"""What worker processes find in their environment: one thread for every library."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}


@contextmanager
def worker_environment() -> Iterator[None]:
    """Let processes that are started in the block have the environment of a worker; leave this one's as it was.

    >>> with worker_environment():
    ...     os.environ["OMP_NUM_THREADS"]
    '1'
    """
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
