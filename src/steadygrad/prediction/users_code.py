"""Errors of the user's own code: one line that says where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steadygrad.errors import SteadygradError, UserCodeError
from steadygrad.setup.user_code import place

_NO_NUMBERS = ("Cannot access data pointer", "doesn't have storage", "FakeTensor", ".numpy() is not supported")


_NO_DEVICE = (
    "there is no device",
    "not linked with support for",
    "Torch not compiled with",
    "No CUDA GPUs",
    "Found no NVIDIA driver",
)
_TWO_DEVICES = "found at least two devices,"


@contextmanager
def users_code(where: Callable[[], str]) -> Iterator[None]:
    """Say of an error in the user's code where it came from; this package's own errors pass as they are."""
    try:
        yield
    except SteadygradError:
        raise
    except (Exception, SystemExit) as error:
        line = place(error)
        raise UserCodeError(_said(where(), error) + (f" ({line})" if line else "")) from error


def _said(where: str, error: BaseException) -> str:
    """Return what happened, and what would help where what is asked for cannot be had without numbers or a device."""
    text = " ".join(str(error).split())
    if _TWO_DEVICES in text:
        return f"{where} mixes tensors of two devices, {text.split(_TWO_DEVICES)[1].strip(' .!')}"
    if any(sign in text for sign in _NO_DEVICE):
        return f"{where} insists on a device that is not here; a prediction needs none, so leave it away: {text}"
    raised = f"{where} raised {type(error).__name__}: {text}"
    if any(sign in raised for sign in _NO_NUMBERS):
        return f"{where} needs the numbers of a tensor, of which a prediction has none: {type(error).__name__}"
    return raised
