"""Whether a network's signals and gradients survive, before and during training; why not; and what to change.

Names load on first use, so that `steadygrad.theory` runs without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import theory as theory
    from .finding import Finding as Finding
    from .finding import Level as Level
    from .profile import LayerSignal as LayerSignal
    from .profile import Profile as Profile

__version__ = "0.1.0"

_HOME = {
    "Finding": "finding",
    "LayerSignal": "profile",
    "Level": "finding",
    "Profile": "profile",
    "theory": "theory",
}

__all__ = ["Finding", "LayerSignal", "Level", "Profile", "theory"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'steadygrad' has no attribute {name!r}")
    module = importlib.import_module(f"steadygrad.{_HOME[name]}")
    return module if _HOME[name] == name else getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
