"""What the model says of one example depends on the other examples of its batch.

A softmax with `dim=0` shares out its weights among the examples, a `view` in place of a `transpose` puts pieces of
several examples into one, a recurrent layer or an attention without `batch_first=True` takes the examples of [batch,
time, features] for the steps of a sequence. Shapes fit, the loss falls, for the batches are learned by heart; with
other neighbours, or alone, an example gets another answer. The rule runs the model in evaluation mode on a few
examples, exchanges half of them, and compares what it says of the other half: a change above the square root of the
rounding unit, against what differs between examples, is no rounding. It follows the exchange through the operators and
names the first that takes tensors in which examples are apart and makes one in which they are not. `warn` for those
above, `info` for any other operator, which may be meant: a batch of several draws, the mean over a batch. Nothing is
said of norms by batch, of a model that takes no smaller batch, such as that of one graph, and where inputs, targets and
outputs share a second axis that may be the examples', unless a DataLoader of torch stacks single ones.

What to do: name the axis that is meant, `softmax(dim=-1)`; put axes in another order by `transpose` or `permute`, never
by `view`; set `batch_first=True`.

Bad:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(32, 8), torch.randint(4, (32,))) for _ in range(4)]
gates = nn.Sequential(nn.Linear(8, 16), nn.Softmax(dim=0), nn.Linear(16, 4))
setup = {"model": gates, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

Good:

```python
import torch
from torch import nn

torch.manual_seed(0)
data = [(torch.randn(32, 8), torch.randint(4, (32,))) for _ in range(4)]
gates = nn.Sequential(nn.Linear(8, 16), nn.Softmax(dim=-1), nn.Linear(16, 4))
setup = {"model": gates, "data": data, "loss_fn": nn.CrossEntropyLoss()}
```

When to ignore: the examples of a batch belong together, as the members of one set.

Reference: Karpathy 2019 (A recipe for training neural networks), "use backprop to chart dependencies"; PyTorch
documentation, `batch_first` of nn.LSTM and nn.MultiheadAttention.
"""

from __future__ import annotations

from collections.abc import Iterator

from steadygrad.diagnosis.evidence import Mixed
from steadygrad.finding import Finding, Level
from steadygrad.measurement.mixing import Join

_SAYS = {
    "softmax": "`{name}`{where} runs over the examples of the batch",
    "reshape": "`{name}`{where} puts pieces of several examples into one",
    "batch_first": "{name}{where} takes examples for steps of a sequence, since its `batch_first` is not set",
    "other": "`{name}`{where} takes examples together",
}
_FIX = {
    "softmax": "Name the axis of an example that is meant: softmax(dim=-1) is the last one, softmax(dim=1) the first.",
    "reshape": "Put axes in another order by transpose or permute.",
    "batch_first": "Set batch_first=True, or hand over [time, batch, features].",
    "other": "Look whether the first axis is meant to be the examples' there.",
}


def check(mixed: Mixed) -> Iterator[Finding]:
    """Speak of what no rounding explains."""
    found = mixed.mixing
    if found is None or not found.is_there:
        return
    join = found.join
    told = join is not None and join.kind != "other" and mixed.batches > 1
    yield Finding(
        code="NET002",
        name="mixed-examples",
        level=Level.WARN if told else Level.INFO,
        message=f"{_says(join)}: when other examples of the batch are exchanged, what the model says of one "
        f"changes by {found.share:.2g} of what differs between examples.",
        module=None if join is None else join.path,
        measured=found.share,
        expected=0.0,
        count=found.examples,
        fix=_FIX["other" if join is None else join.kind],
        line=str(join.line) if join is not None and join.line else None,
    )


def _says(join: Join | None) -> str:
    if join is None:
        return "The model takes examples together"
    where = f" in {join.path!r}" if join.path else ""
    says = _SAYS[join.kind].format(name=join.name, where=where + (f" at {join.line}" if join.line else ""))
    return says[:1].upper() + says[1:]
