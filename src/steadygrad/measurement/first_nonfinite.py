"""Where the first number that is not finite appeared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class FirstNonfinite:
    """The first module whose output, or whose output's gradient, is NaN or infinite; or the loss.

    Attributes:
        path: the module's path; "" for the model itself and for the loss.
        kind: its class; "" for the loss.
        direction: "forward" for its output; "loss" where all outputs are finite and the loss is not;
            "backward" for the gradient with respect to its output, counted from the loss backwards.

    >>> FirstNonfinite(path="2", kind="Lambda", direction="forward").direction
    'forward'
    """

    path: str
    kind: str
    direction: Literal["forward", "loss", "backward"]
