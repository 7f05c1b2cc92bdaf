"""A bar on stderr: networks done, and the time that is left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Between two outcomes there are seconds: the time left is an average over the last minutes.
_AVERAGED_SECONDS = 300.0


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while the block runs; what is yielded is told (networks done, networks in all).

    Without a terminal nothing is shown.

    >>> with bar("example") as progress:
    ...     progress(1, 2)
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns,
        console=console,
        transient=True,
        speed_estimate_period=_AVERAGED_SECONDS,
        disable=not sys.stderr.isatty(),
    ) as shown:
        task = shown.add_task(title, total=None)

        def tell(done: int, total: int) -> None:
            """A count that falls is another grid's; the first of one is what was there before: it tells no speed."""
            now = shown.tasks[0]
            if now.total != total or done < now.completed:
                shown.reset(task, completed=done, total=total)
            shown.update(task, completed=done)

        yield tell
