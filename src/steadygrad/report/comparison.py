"""A measured profile against a prediction, as a table: how many standard deviations each layer is off."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from steadygrad.numbers import band, short
from steadygrad.profile import Comparison, Deviation
from steadygrad.profile.comparison import BEYOND
from steadygrad.terminal import KIND, PATH, shortened, table, to_text

_NUMBERS = ("95% band", "measured", "sigma")
COLUMNS = ("\nlayer", "\nkind", *(f"{of}\n{what}" for of in ("q", "grad_q") for what in _NUMBERS))

_LESS = (1, 5, 2, 6, 3)  # what a narrow terminal does without: the class, the bands, what was measured


def render(comparison: Comparison, *, width: int = 100, color: bool = False, every_row: bool = False) -> str:
    """Return the comparison as text: which layers are beyond six sigma, then the table.

    Args:
        comparison: what `Profile.compare` returned.
        width: columns of the terminal, at least 40.
        color: whether to write ANSI colours.
        every_row: every layer in the table; else those beyond six sigma, and of the rest the middle is left out.

    >>> print(render(Comparison(rows=())))
    All of 0 layers within 6 sigma of the prediction.
    """
    parts: list[RenderableType] = [Text(str(comparison), style="bold")]
    if comparison.rows:
        parts += ["", _table(comparison, every_row=every_row, width=width)]
    if comparison.unmatched:
        parts.append(Text(f"Not in both profiles: {', '.join(map(repr, comparison.unmatched))}", style="dim"))
    return to_text(Group(*parts), width=width, color=color)


def _table(comparison: Comparison, *, every_row: bool, width: int) -> Table:
    shown = _shown(comparison.rows, every_row=every_row)
    rows: list[list[str | Text]] = [
        [row.path or "(model)", row.measured.kind, *_cells(row, "q"), *_cells(row, "grad_q")] for row in shown
    ]
    if hidden := len(comparison.rows) - len(shown):
        rows.append([Text(words, "dim") for words in ("⋮", f"{hidden} more", *"⋮" * (len(COLUMNS) - 2))])
    return table(COLUMNS, rows, width=width, left={0: PATH, 1: KIND}, optional=_LESS, every_row=True)


def _shown(rows: Sequence[Deviation], *, every_row: bool) -> list[Deviation]:
    head, tail = shortened(rows, every_row=every_row)
    ends = {row.position for row in (*head, *tail)}
    return [row for row in rows if row.is_beyond or row.position in ends]


def _cells(row: Deviation, name: str) -> tuple[Text, Text, Text]:
    low, high = (getattr(row.predicted, f"{name}_{end}") for end in ("low", "high"))
    z = row.z_q if name == "q" else row.z_grad_q
    style = "bold red" if abs(z) > BEYOND else ""
    return Text(band(low, high)), Text(short(getattr(row.measured, name))), Text(f"{z:+.1f}" if z == z else "?", style)
