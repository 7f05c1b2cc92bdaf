"""What a terminal shows: Rich's tables as text, the middle of long ones left out."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TypeVar

from rich.console import Console, RenderableType

Row = TypeVar("Row")

LONGEST = 12  # rows that fit on a terminal with the findings above them
ENDS = 5  # rows kept at either end of a longer table


def shortened(rows: Sequence[Row], *, every_row: bool) -> tuple[Sequence[Row], Sequence[Row]]:
    """Return the rows before and after the gap in the middle of a long table.

    >>> head, tail = shortened(range(100), every_row=False)
    >>> list(head), list(tail)
    ([0, 1, 2, 3, 4], [95, 96, 97, 98, 99])
    >>> len(shortened(range(100), every_row=True)[0])
    100
    """
    if every_row or len(rows) <= LONGEST:
        return rows, rows[:0]
    return rows[:ENDS], rows[-ENDS:]


def to_text(content: RenderableType, *, width: int, color: bool) -> str:
    """Return what Rich prints, without trailing blanks.

    >>> to_text("a", width=80, color=False)
    'a'
    """
    # Nothing from the environment but what the caller says: the same input gives the same text on every machine.
    console = Console(
        file=StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        markup=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as capture:
        console.print(content)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))
