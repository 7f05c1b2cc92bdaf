"""The table by layer: the predicted band beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text

from steadygrad.numbers import band, short
from steadygrad.report.pairing import Pair
from steadygrad.terminal import shortened

WIDE = 96  # columns of a terminal that all of the table fits into


@dataclass(frozen=True)
class Column:
    """A column of the table: its title, and a row's number in it."""

    title: str
    value: Callable[[Pair], float]
    text: Callable[[Pair], Text]


def _plain(value: Callable[[Pair], float]) -> Callable[[Pair], Text]:
    return lambda pair: Text(short(value(pair)))


def _q(pair: Pair) -> Text:
    return Text(short(pair.measured.q), style="bold red" if pair.q_is_outside else "")


def _grad_q(pair: Pair) -> Text:
    return Text(short(pair.measured.grad_q), style="bold red" if pair.grad_is_outside else "")


COLUMNS = (
    Column("q\n95% band", lambda p: p.predicted.q_low, lambda p: Text(band(p.predicted.q_low, p.predicted.q_high))),
    Column("q\nmeasured", lambda p: p.measured.q, _q),
    Column("signal\npredicted", lambda p: p.predicted.signal, _plain(lambda p: p.predicted.signal)),
    Column("signal\nmeasured", lambda p: p.measured.signal, _plain(lambda p: p.measured.signal)),
    Column(
        "grad_q\n95% band",
        lambda p: p.predicted.grad_q_low,
        lambda p: Text(band(p.predicted.grad_q_low, p.predicted.grad_q_high)),
    ),
    Column("grad_q\nmeasured", lambda p: p.measured.grad_q, _grad_q),
)


def known(pairs: Sequence[Pair]) -> list[Column]:
    """Return the columns in which at least one row has a number.

    >>> known([])
    []
    """
    return [column for column in COLUMNS if any(not math.isnan(column.value(pair)) for pair in pairs)]


def layer_table(pairs: Sequence[Pair], *, every_row: bool = False, width: int = 100) -> Table:
    """Return the table by layer, without columns that hold nothing, the middle of a long one left out.

    >>> layer_table([]).row_count
    0
    """
    columns = [column for column in known(pairs) if width >= WIDE or column.title != "signal\npredicted"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column("\nlayer", overflow="fold")
    table.add_column("\nkind", overflow="fold")
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    head, tail = shortened(pairs, every_row=every_row)
    for pair in head:
        table.add_row(pair.path or "(model)", pair.kind, *(column.text(pair) for column in columns))
    if tail:
        table.add_row("⋮", f"{len(pairs) - len(head) - len(tail)} more", *("⋮" for _ in columns), style="dim")
    for pair in tail:
        table.add_row(pair.path or "(model)", pair.kind, *(column.text(pair) for column in columns))
    return table
