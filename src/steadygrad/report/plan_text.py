"""A plan of initialization for the terminal: what each parameter gets and why, and the profile before and after."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from steadygrad.numbers import band, count, short
from steadygrad.profile import LayerSignal, Profile
from steadygrad.terminal import KIND, PATH, table, to_text

_WORDS = 18  # columns of an initializer, such as "normal, std 0.0382", and of a reason, before others give way

Row = tuple[str, tuple[int, ...], float, str, str]


def render(
    rows: Sequence[Row],
    *,
    scheme: str,
    kept: Sequence[str] = (),
    before: Profile | None = None,
    after: Profile | None = None,
    notes: Sequence[str] = (),
    width: int = 100,
    color: bool = False,
    every_row: bool = False,
) -> str:
    """Return the plan as text.

    Args:
        rows: name, shape, present root mean square, new initializer and reason of each parameter.
        scheme: the plan's.
        kept: names of parameters that stay as they are.
        before: the predicted profile of the parameters as they are.
        after: that of the plan.
        notes: what could not be looked at, in words.
        width: columns of the terminal, at least 40.
        color: whether to write ANSI colours.
        every_row: every row of both tables.

    >>> print(render([("fc.weight", (2, 3), 0.5, "normal, std 0.577", "head")], scheme="critical"))
    Plan "critical": 1 parameter to initialize.
    <BLANKLINE>
    parameter   shape   rms now   becomes             because
    ─────────────────────────────────────────────────────────
    fc.weight   2x3         0.5   normal, std 0.577   head
    """
    head = f'Plan "{scheme}": {count(len(rows), "parameter")} to initialize'
    head += f", {len(kept)} kept." if kept else "."
    parts: list[RenderableType] = [Text(head, style="bold"), "", _parameters(rows, every_row, width)]
    if after is not None:
        parts += ["", _profile(before, after, every_row, width)]
        parts += [Text(f"Not known: {words}", style="dim") for words in after.unknown]
    parts += [Text(f"Note: {words}.", style="dim") for words in notes]
    return to_text(Group(*parts), width=width, color=color)


def _parameters(rows: Sequence[Row], every_row: bool, width: int) -> Table:
    return table(
        ("parameter", "shape", "rms now", "becomes", "because"),
        [_words(row) for row in rows],
        width=width,
        left={0: PATH, 1: KIND, 3: _WORDS, 4: _WORDS},
        optional=(1, 2),
        every_row=every_row,
    )


def _words(row: Row) -> tuple[str, ...]:
    name, shape, present, becomes, because = row
    return name, "x".join(map(str, shape)) or "1", short(present), becomes, because


def _profile(before: Profile | None, after: Profile, every_row: bool, width: int) -> Table:
    """The layers with weights, both profiles side by side."""
    known = {} if before is None else {layer.path: layer for layer in reversed(before.layers)}
    rows = [_both(known.get(layer.path), layer) for layer in after if layer.fan_in is not None]
    return table(
        ("\nlayer", "\nkind", "q\nnow", "q\nplanned, 95%", "grad_q\nnow", "grad_q\nplanned, 95%"),
        rows,
        width=width,
        left={0: PATH, 1: KIND},
        optional=(1, 4, 2),
        every_row=every_row,
    )


def _both(now: LayerSignal | None, planned: LayerSignal) -> tuple[str, ...]:
    return (
        planned.path or "(model)",
        planned.kind,
        short(now.q) if now else "?",
        band(planned.q_low, planned.q_high),
        short(now.grad_q) if now else "?",
        band(planned.grad_q_low, planned.grad_q_high),
    )
