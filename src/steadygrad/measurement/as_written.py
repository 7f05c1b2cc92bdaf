"""A block in which what torch.compile made runs as it was written, so that hooks see every module."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

import torch


def as_written() -> AbstractContextManager[object]:
    """Run compiled modules and functions as plain Python inside; outside they stay compiled.

    Compiling would follow the hooks too, for seconds, and leave code behind that has them in it.

    >>> twice = torch.compile(lambda x: 2 * x, backend="eager")
    >>> with as_written():
    ...     twice(torch.ones(1))
    tensor([2.])
    """
    # Where the compiler was never loaded nothing is compiled, and loading it takes a second.
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
