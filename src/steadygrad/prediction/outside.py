"""Leave all dispatch modes for a moment, to compute with real tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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


@contextlib.contextmanager
def inside(mode: contextlib.AbstractContextManager[object]) -> Iterator[None]:
    """Let a mode that is handling an operator, and those below it, see operators again."""
    include, exclude = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    with torch._C._ForceDispatchKeyGuard(include | _MODES, exclude - _MODES), mode:
        yield


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Keep oneDNN away for a moment, so that an LSTM runs step by step and not as one operator.

    The public `torch.backends.mkldnn.flags` warns of a GPU that is not there.
    """
    was = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(was)
