"""Leave all dispatch modes for a moment, to compute with real tensors."""

from __future__ import annotations

import contextlib

import torch

_keys = torch._C.DispatchKey
_MODES = torch._C.DispatchKeySet(_keys.Python) | torch._C.DispatchKeySet(_keys.PythonTLSSnapshot)


def outside() -> contextlib.AbstractContextManager[None]:
    """Return a context in which operators on plain tensors are computed, whatever modes are on.

    Excluding the dispatch keys costs a seventh of popping the modes and pushing them again, which the public
    `torch.utils._python_dispatch._disable_current_modes` does, and an operator may need it.
    """
    guard: contextlib.AbstractContextManager[None] = torch._C._ExcludeDispatchKeyGuard(_MODES)
    return guard
