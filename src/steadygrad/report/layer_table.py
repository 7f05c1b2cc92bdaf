"""The table by layer: the predicted band beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from steadygrad.numbers import band, short
from steadygrad.report.pairing import Pair
from steadygrad.terminal import KIND, PATH, table


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


# What a narrow terminal does without, the first to go first: how the signal compares is told by q beside it.
LESS = ("signal\npredicted", "\nkind", "signal\nmeasured", "grad_q\n95% band", "q\n95% band")


def layer_table(pairs: Sequence[Pair], *, every_row: bool = False, width: int = 100) -> Table:
    """Return the table by layer, without columns that hold nothing, the middle of a long one left out.

    >>> layer_table([]).row_count
    0
    """
    columns = known(pairs)
    titles = ["\nlayer", "\nkind", *(column.title for column in columns)]
    optional = [titles.index(title) for title in LESS if title in titles]
    rows: list[list[str | Text]] = [
        [pair.path or "(model)", pair.kind, *(column.text(pair) for column in columns)] for pair in pairs
    ]
    return table(
        titles,
        rows,
        width=width,
        left={0: PATH, 1: KIND},
        optional=optional[: max(len(titles) - 3, 0)],
        every_row=every_row,
    )


LEGEND = {
    "q\n": "q: mean square of a layer's output",
    "signal\n": "signal: the part of q that differs between examples",
    "grad_q\n": "grad_q: mean square of the gradient there",
    "95% band": "95% band: where theory expects it, over draws of the weights",
}


def legend(pairs: Sequence[Pair]) -> str:
    """Return what the table's columns are, in words.

    >>> from steadygrad.profile import LayerSignal
    >>> row, nothing = LayerSignal(path="fc", kind="Linear", q=1.0), LayerSignal(path="", kind="")
    >>> legend([Pair(position=1, path="fc", kind="Linear", predicted=nothing, measured=row)])
    "q: mean square of a layer's output."
    """
    titles = [column.title for column in known(pairs)]
    words = [
        words
        for part, words in LEGEND.items()
        if any(title.startswith(part) or title.endswith(part) for title in titles)
    ]
    return f"{'; '.join(words)}." if words else ""
