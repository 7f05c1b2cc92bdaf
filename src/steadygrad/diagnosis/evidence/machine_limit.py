"""What a machine cannot do, told from what is wrong with the user's code."""

from __future__ import annotations

import torch

from steadygrad.errors import in_short

_NO_ACCELERATOR = ("not compiled with", "no nvidia driver", "no cuda gpus", "no hip gpus", "cuda is not available")
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


def machine_limit(error: BaseException | None) -> str | None:
    """Return in words which limit of the machine an error says was met, or the first of its causes; None for others.

    >>> machine_limit(AssertionError("Torch not compiled with CUDA enabled"))
    'this machine lacks the accelerator that the code asks for (Torch not compiled with CUDA enabled)'
    >>> machine_limit(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    True
    """
    seen, found = error, None
    while seen is not None:
        words = in_short(seen)
        if isinstance(seen, torch.OutOfMemoryError | MemoryError) or _says(words, _NO_MEMORY):
            found = f"the memory did not suffice ({words})"
        elif isinstance(seen, AssertionError | RuntimeError) and _says(words, _NO_ACCELERATOR):
            found = f"this machine lacks the accelerator that the code asks for ({words})"
        seen = seen.__cause__
    return found


def _says(words: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in words.lower() for phrase in phrases)
