"""Inputs or targets hold NaN or infinity.

One such number makes the loss and every gradient NaN in the step that meets it, and every weight after it. It stands
in the data before the network has done anything, so it is looked for in all batches, not in the first one alone.

What to do: find out what the number should have been; drop the example, or fill the entry in from its column.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(64, 8)
inputs[3, 5] = float("nan")
model = nn.Linear(8, 2)
setup = {"model": model, "data": [(inputs, torch.arange(64) % 2)], "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.randn(64, 8)
model = nn.Linear(8, 2)
setup = {"model": model, "data": [(inputs, torch.arange(64) % 2)], "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the model masks such entries itself before it computes with them.

Reference: IEEE 754-2019, section 6.2 (a NaN operand gives NaN).
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import NonfiniteBatch, Scanned
from steadygrad.finding import Finding, Level

_MOST_COLUMNS = 5


def check(scanned: Scanned) -> Iterator[Finding]:
    """One finding for each tensor of inputs and targets, wherever in it they are."""
    for part in dict.fromkeys(batch.part for batch in scanned.nonfinite):
        bad = [batch for batch in scanned.nonfinite if batch.part == part]
        if bad:
            yield _finding(part, bad, scanned)


def _finding(part: str, bad: list[NonfiniteBatch], scanned: Scanned) -> Finding:
    entries, examples = sum(b.entries for b in bad), sum(b.examples for b in bad)
    where = "" if len(bad) == scanned.batches else f", the first in batch {bad[0].index}"
    return Finding(
        code="DAT003",
        name="non-finite-data",
        level=Level.ERROR,
        message=f"{_counted(entries, 'entry', 'entries')} of the {part} {'is' if entries == 1 else 'are'} NaN or "
        f"infinite, in {_counted(examples, 'example', 'examples')} and {len(bad)} of "
        f"{_counted(scanned.batches, 'batch', 'batches')}{where}{_columns(bad)}: "
        "the loss of such a batch is not a number.",
        measured=float(entries),
        expected=0.0,
        count=scanned.entries,
        fix=f"Drop those examples, or fill the entries of the {part} in, before they are batched.",
        fix_code=f"keep = torch.isfinite({part}).reshape(len({part}), -1).all(1)\n"
        + (
            "inputs, targets = inputs[keep], targets[keep]"
            if part in ("inputs", "targets")
            else f"{part} = {part}[keep]"
        ),
    )


def _columns(bad: list[NonfiniteBatch]) -> str:
    columns = sorted({column for batch in bad for column in batch.columns})
    if not columns or len(columns) > _MOST_COLUMNS:
        return ""
    return f" (feature{'s' * (len(columns) > 1)} {', '.join(map(str, columns))})"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
