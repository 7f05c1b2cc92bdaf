"""What an error in the middle of a check costs: the part that it was met in, and no more."""

from __future__ import annotations

import traceback
from pathlib import Path

from steadygrad.errors import in_short
from steadygrad.setup.user_code import is_the_users

# Kinds of errors that a check goes on after; tests take none, so that they fail where they meet one.
TOLERATED: tuple[type[Exception], ...] = (Exception,)

_OURS = str(Path(__file__).parents[2])


def fault(error: Exception) -> str:
    """Return the note on an error: whose it is, by the innermost line that is this package's or the user's.

    >>> fault(KeyError("x"))
    "Left out for an error of steadygrad's own, which is worth a report: KeyError: 'x'."
    """
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(_OURS) or is_the_users(frame.filename)
    ]
    what = f"{type(error).__name__}: {in_short(error)}"
    if frames and not frames[-1].filename.startswith(_OURS):
        return f"Left out, as {frames[-1].filename}:{frames[-1].lineno} raised {what}."
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"Left out for an error of steadygrad's own, which is worth a report: {what}{place}."
