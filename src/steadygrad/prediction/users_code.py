"""Errors of the user's own code: one line that says where."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from steadygrad.errors import SteadygradError, UserCodeError
from steadygrad.setup.user_code import place

_NO_NUMBERS = ("Cannot access data pointer", "doesn't have storage", "FakeTensor", ".numpy() is not supported")


@contextmanager
def users_code(where: Callable[[], str]) -> Iterator[None]:
    """Say of an error in the user's code where it came from; this package's own errors pass as they are."""
    try:
        yield
    except SteadygradError:
        raise
    except Exception as error:
        line = place(error)
        raised = f"{where()} raised {type(error).__name__}: {' '.join(str(error).split())}"
        if any(sign in raised for sign in _NO_NUMBERS):
            raised = f"{where()} needs the numbers of a tensor, of which a prediction has none: {type(error).__name__}"
        raise UserCodeError(raised + (f" ({line})" if line else "")) from error
