"""What a terminal shows: Rich's tables as text, the middle of long ones left out, each as wide as there is room for."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

Row = TypeVar("Row")
Cell = str | Text

LONGEST = 12  # rows that fit on a terminal with the findings above them
ENDS = 5  # rows kept at either end of a longer table
GAPS = (3, 2)  # columns between two of a table, and where it is narrow
PATH, KIND = 24, 12  # columns that a module's path, broken at its dots, and its class have before others give way


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


@dataclass(frozen=True)
class Code:
    """Lines that are meant to be copied: no terminal is so narrow that they are broken.

    >>> to_text(Code("for path in paths:", indent=2), width=10, color=False)
    '  for path in paths:'
    """

    text: str
    indent: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        """Give the lines as they stand."""
        for line in self.text.strip("\n").split("\n"):
            yield Segment(" " * self.indent + line, Style(color="green"))
            yield Segment.line()


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    width: int,
    left: Mapping[int, int],
    optional: Sequence[int] = (),
    every_row: bool = False,
    gaps: Sequence[int] = GAPS,
) -> Table:
    """Return a table that fits into a terminal: names are broken at their dots, then columns are left out.

    Args:
        titles: of the columns; those in `left` are words, all others are numbers, which are never broken.
        rows: a cell for each title.
        width: columns of the terminal.
        left: of the columns of words, what each has at least before another is left out.
        optional: columns that may be left out, the first to go first.
        every_row: every row, instead of the ends of a long table.
        gaps: columns between two, the widest first.

    >>> rows = [("encoder.layers.0", "Linear", "1.5")]
    >>> made = table(("layer", "kind", "q"), rows, width=16, left={0: 8, 1: 6}, optional=[1])
    >>> print(to_text(made, width=16, color=False))
    layer          q
    ────────────────
    encoder.     1.5
    layers.0
    """
    head, tail = shortened(rows, every_row=every_row)
    more = f"{len(rows) - len(head) - len(tail)} more" if tail and 1 in left else "⋮"
    gap_row = ["⋮", more, *"⋮" * (len(titles) - 2)]
    natural = [max(_wide(row[i]) for row in (titles, gap_row, *head, *tail)) for i in range(len(titles))]
    least = [min(natural[i], left.get(i, natural[i])) for i in range(len(titles))]
    kept, gap = _fitting(least, optional, gaps, width)
    widths = _shared_out(kept, least, natural, left, width - gap * (len(kept) - 1))
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), collapse_padding=gap < GAPS[0])
    lines = max(title.count("\n") for title in titles)
    for i in kept:
        title = "\n" * (lines - titles[i].count("\n")) + titles[i]
        if i in left:
            made.add_column(title, overflow="fold", width=widths[i])
        else:
            made.add_column(title, justify="right", no_wrap=True)
    cells = [[_at_dots(row[i], widths[i]) if i == 0 else row[i] for i in kept] for row in (*head, *tail)]
    for row in cells[: len(head)]:
        made.add_row(*row)
    if tail:
        made.add_row(*(gap_row[i] for i in kept), style="dim")
    for row in cells[len(head) :]:
        made.add_row(*row)
    return made


def _wide(cell: Cell) -> int:
    return max(map(cell_len, str(cell).split("\n")))


def _fitting(least: Sequence[int], optional: Sequence[int], gaps: Sequence[int], width: int) -> tuple[list[int], int]:
    """Which columns stay, and how far apart: a column is left out where even the narrowest gap leaves no room."""
    for left_out in range(len(optional) + 1):
        kept = [i for i in range(len(least)) if i not in optional[:left_out]]
        for gap in gaps:
            if sum(least[i] for i in kept) + gap * (len(kept) - 1) <= width:
                return kept, gap
    return kept, gap


def _shared_out(
    kept: Sequence[int], least: Sequence[int], natural: Sequence[int], words: Collection[int], width: int
) -> dict[int, int]:
    """The columns' widths: what is left goes to the first that want it; what is missing the widest words give."""
    room, widths = width - sum(least[i] for i in kept), {}
    for i in kept:
        widths[i] = least[i] + min(max(room, 0), natural[i] - least[i])
        room -= widths[i] - least[i]
    while room < 0 and (given := [i for i in kept if i in words and widths[i] > 1]):
        widths[max(given, key=lambda i: widths[i])] -= 1
        room += 1
    return widths


def _at_dots(path: Cell, width: int) -> Cell:
    r"""A path in lines that end behind a dot, as far as such lines fit.

    >>> _at_dots("encoder.layers.0", 10)
    'encoder.\nlayers.0'
    """
    if not isinstance(path, str) or cell_len(path) <= width:
        return path
    lines = [""]
    for part in path.replace(".", ".\0").split("\0"):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


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
        console.print(content, crop=False)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))
