"""What theory says of an MLP, for the terminal: a table a layer, the verdict, and what to use instead."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from steadygrad.numbers import band, short
from steadygrad.profile import LayerSignal, Profile
from steadygrad.report.verdict import Verdict, verdicts, weighted
from steadygrad.terminal import Code, table, to_text

TITLES = ("layer", "q", "95% band", "c", "signal", "grad_q", "95% band")
_LESS = (3, 6, 2, 4)  # what a narrow terminal does without: c, the bands, the signal


def render(
    profile: Profile,
    *,
    title: str,
    advice: str = "",
    code: str = "",
    width: int = 100,
    color: bool = False,
    every_row: bool = False,
) -> str:
    """Return the profile as text.

    Args:
        profile: the prediction.
        title: what is explained.
        advice: what to use instead, in words; nothing is said where it is empty.
        code: the same as code.
        width: columns of the terminal.
        color: whether to write ANSI colours.
        every_row: every layer in the table, instead of leaving out the middle of many.

    >>> row = LayerSignal(path="0", kind="Linear", fan_in=2, q=1.0, signal=1.0, grad_q=1.0)
    >>> text = render(Profile(layers=(row,), source="theory"), title="one layer")
    >>> text.splitlines()[0]
    'one layer'
    """
    parts: list[RenderableType] = [
        Text(title, style="bold"),
        "",
        _table(weighted(profile), every_row=every_row, width=width),
        "",
    ]
    parts += [Text(f"Not known: {words}.", style="dim") for words in profile.unknown]
    parts += [_verdict(verdict) for verdict in verdicts(profile)]
    if advice:
        parts += ["", Text.assemble(("Use instead: ", "bold"), advice)]
    if code:
        parts += ["", Code(code, indent=4)]
    return to_text(Group(*parts), width=width, color=color)


def _verdict(verdict: Verdict) -> Text:
    return Text(str(verdict), style="bold green" if verdict.survives else "bold red")


def _table(rows: Sequence[LayerSignal], *, every_row: bool, width: int) -> Table:
    cells = [_cells(position, row) for position, row in enumerate(rows, start=1)]
    return table(TITLES, cells, width=width, left={}, optional=_LESS, every_row=every_row)


def _cells(position: int, row: LayerSignal) -> tuple[str, ...]:
    forward = short(row.q), band(row.q_low, row.q_high), f"{row.c:.3f}", short(row.signal)
    return str(position), *forward, short(row.grad_q), band(row.grad_q_low, row.grad_q_high)
