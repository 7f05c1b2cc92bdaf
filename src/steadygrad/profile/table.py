"""A profile for the terminal: its layers, and what could not be known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from steadygrad.numbers import band, count, short
from steadygrad.terminal import GAPS, KIND, PATH, table, to_text

if TYPE_CHECKING:
    from .profile import LayerSignal, Profile

COLUMNS: tuple[tuple[str, str, Callable[[LayerSignal], str]], ...] = (
    ("q", "q", lambda row: short(row.q)),
    ("band", "q_low", lambda row: band(row.q_low, row.q_high)),
    ("c", "c", lambda row: short(row.c)),
    ("signal", "signal", lambda row: short(row.signal)),
    ("grad_q", "grad_q", lambda row: short(row.grad_q)),
    ("band", "grad_q_low", lambda row: band(row.grad_q_low, row.grad_q_high)),
    ("dead", "dead_fraction", lambda row: short(row.dead_fraction)),
)
# What a narrow terminal does without, after the class; the first to go first.
_LESS = ("dead_fraction", "c", "signal", "grad_q_low", "q_low")
_OWN = ("exact", "measured")  # marks that need no word
_SIGNS = {"approximate": "≈"}  # for the rest a word


def render(profile: Profile, *, width: int = 100, color: bool = False, every_row: bool = False) -> str:
    """Return the profile as text: columns in which at least one row has a number.

    Args:
        profile: of any source.
        width: columns of the terminal.
        color: whether to write ANSI colours.
        every_row: every row, instead of the ends of a long table.
    """
    examples = f", {count(profile.batch_size, 'example')}" if profile.batch_size else ""
    loss = "" if math.isnan(profile.loss) else f", loss {short(profile.loss)}"
    head = f"{profile.source.capitalize()} profile: {count(len(profile), 'row')}{examples}{loss}"
    parts: list[RenderableType] = [Text(head, style="bold")]
    parts += ["", _table(profile, every_row, width)] if len(profile) else []
    marks = {row.mark for row in profile}
    parts += [Text(f"{sign} {word}", style="dim") for word, sign in _SIGNS.items() if word in marks]
    unknown = [Text(f"Not known: {words}", style="dim") for words in profile.unknown]
    return to_text(Group(*parts, *unknown), width=width, color=color)


def _table(profile: Profile, every_row: bool, width: int) -> Table:
    """95% of draws lie in a prediction's band; a measurement's is its standard error."""
    known = [column for column in COLUMNS if any(not math.isnan(getattr(row, column[1])) for row in profile)]
    kind = "± error" if profile.source == "measured" else "95% band"
    marked = any(row.mark not in _OWN for row in profile)
    titles = ["layer", "kind", *(kind if title == "band" else title for title, _, _ in known), *[""] * marked]
    at = {attribute: i for i, (_, attribute, _) in enumerate(known, start=2)}
    rows = [[*_cells(row, known), *[""] * (marked and row.mark in _OWN)] for row in profile]
    return table(
        titles,
        rows,
        width=width,
        left={0: PATH, 1: KIND} | ({len(titles) - 1: len("unknown")} if marked else {}),
        optional=[1, *(at[name] for name in _LESS if name in at)],
        every_row=every_row,
        gaps=GAPS[1:],
    )


def _cells(row: LayerSignal, known: list[tuple[str, str, Callable[[LayerSignal], str]]]) -> list[str]:
    mark = [] if row.mark in _OWN else [_SIGNS.get(row.mark, row.mark)]
    return [row.path or "(model)", row.kind, *(text(row) for _, _, text in known), *mark]
