"""A plan of initialization for the terminal: what each parameter gets and why, and the profile before and after."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from steadygrad.numbers import band, count, short
from steadygrad.profile import LayerSignal, Profile
from steadygrad.terminal import shortened, to_text

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
    parts: list[RenderableType] = [Text(head, style="bold"), "", _parameters(rows, every_row)]
    if after is not None:
        parts += ["", _profile(before, after, every_row)]
        parts += [Text(f"Not known: {words}", style="dim") for words in after.unknown]
    parts += [Text(f"Note: {words}.", style="dim") for words in notes]
    return to_text(Group(*parts), width=width, color=color)


def _table(titles: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left", overflow="fold")
    return table


def _parameters(rows: Sequence[Row], every_row: bool) -> Table:
    table = _table(("parameter", "shape", "rms now", "becomes", "because"), ("rms now",))
    first, last = shortened(rows, every_row=every_row)
    for row in first:
        table.add_row(*_words(row))
    if last:
        table.add_row("⋮", f"{len(rows) - len(first) - len(last)} more", "⋮", "⋮", "⋮", style="dim")
    for row in last:
        table.add_row(*_words(row))
    return table


def _words(row: Row) -> tuple[str, ...]:
    name, shape, present, becomes, because = row
    return name, "x".join(map(str, shape)) or "1", short(present), becomes, because


def _profile(before: Profile | None, after: Profile, every_row: bool) -> Table:
    """The layers with weights, both profiles side by side."""
    titles = ("layer", "kind", "q\nnow", "q\nplanned, 95%", "grad_q\nnow", "grad_q\nplanned, 95%")
    table = _table(titles, titles[2:])
    layers = [layer for layer in after if layer.fan_in is not None]
    first, last = shortened(layers, every_row=every_row)
    known = {} if before is None else {layer.path: layer for layer in reversed(before.layers)}
    for layer in first:
        table.add_row(*_both(known.get(layer.path), layer))
    if last:
        table.add_row("⋮", f"{len(layers) - len(first) - len(last)} more", *"⋮" * 4, style="dim")
    for layer in last:
        table.add_row(*_both(known.get(layer.path), layer))
    return table


def _both(now: LayerSignal | None, planned: LayerSignal) -> tuple[str, ...]:
    return (
        planned.path or "(model)",
        planned.kind,
        short(now.q) if now else "?",
        band(planned.q_low, planned.q_high),
        short(now.grad_q) if now else "?",
        band(planned.grad_q_low, planned.grad_q_high),
    )
