"""What a machine cannot do, told from what is wrong with the user's code."""

from __future__ import annotations

import torch

_NO_ACCELERATOR = ("not compiled with", "no nvidia driver", "no cuda gpus", "no hip gpus", "cuda is not available")
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def machine_limit(error: BaseException) -> str | None:
    """Return in words which limit of the machine an error says was met, or one of its causes does; None for others.

    >>> machine_limit(AssertionError("Torch not compiled with CUDA enabled"))
    'this machine lacks the accelerator that the code asks for (Torch not compiled with CUDA enabled)'
    >>> machine_limit(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    True
    """
    seen: BaseException | None = error
    while seen is not None:
        words = (str(seen).strip().splitlines() or [type(seen).__name__])[0].rstrip(".")
        if isinstance(seen, torch.OutOfMemoryError | MemoryError) or _says(words, _NO_MEMORY):
            return f"the memory did not suffice ({words})"
        if isinstance(seen, AssertionError | RuntimeError) and _says(words, _NO_ACCELERATOR):
            return f"this machine lacks the accelerator that the code asks for ({words})"
        seen = seen.__cause__
    return None


def _says(words: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in words.lower() for phrase in phrases)
