"""The model or the loss writes into the batch, and the data hand out the same memory again.

`targets.div_(scale)`, `x.sub_(mean)` or `x -= mean` change the tensors that they are given. Where the data keep them,
as a list of batches or a slice of one large tensor does, every pass sees other numbers: targets that are divided again
and again shrink to nothing, and the loss falls while nothing is learned. A DataLoader that stacks examples makes new
tensors, and there it does no harm. The rule hands one copy of a batch to model and loss twice, and compares: numbers
that change the second time, too, drift on. What comes to rest, as after a ReLU or a clamp in place, is not meant. Of
the data it asks whether a second pass begins with the memory of the first.

What to do: leave out the underscore, `targets / scale`, or rescale the data once before training.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(32, 4), torch.randn(32, 1)) for _ in range(8)]
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
setup = {"model": model, "data": data, "loss_fn": lambda output, y: (output - y.div_(2)).square().mean()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(32, 4), torch.randn(32, 1)) for _ in range(8)]
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
setup = {"model": model, "data": data, "loss_fn": lambda output, y: (output - y / 2).square().mean()}
```

When to ignore: each pass is meant to go on from the numbers that the one before left.

Reference: PyTorch documentation, "In-place semantics" and `torch.Tensor.div_`.
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Overwritten
from steadygrad.finding import Finding, Level


def check(written: Overwritten) -> Iterator[Finding]:
    """Speak of what drifts on from pass to pass."""
    if not written.part or not written.kept:
        return
    yield Finding(
        code="DAT006",
        name="overwritten-batch",
        level=Level.WARN,
        message=f"The {written.by} writes into the {written.part} of the batch, which the data hand out again: each "
        f"pass changes them by {written.change:.2g} of their size.",
        measured=written.change,
        expected=0.0,
        count=written.entries,
        fix="Leave out the underscore of the operator that works in place, or rescale the data once before training.",
    )
