"""Whether a loss draws at random by what the model says, as a policy gradient draws its actions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steadygrad.setup.parts import mapped

# They draw by probabilities, means or rates that they are handed; what they draw has no gradient.
_DRAWS = ("aten::multinomial", "aten::bernoulli", "aten::bernoulli_", "aten::normal", "aten::poisson")


def draws_by_outputs(loss_fn: Callable[[Any, Any], Any], outputs: Any, targets: Any) -> bool:
    """Return whether what a loss draws by changes with the outputs.

    Such a loss has the gradient of what is expected of it by other means than its own slope, as the logarithm of a
    probability times a reward has, and its size is not that expectation. It is called twice, on outputs that differ a
    little: run this in a block that puts generators back.

    Args:
        loss_fn: takes (outputs, targets).
        outputs: a tensor, or several in sequences and mappings.
        targets: as the loss takes them.

    >>> logits = torch.zeros(8, 4)
    >>> def reward(z, y): return z.log_softmax(1)[:, z.softmax(1).multinomial(1)[0, 0]].mean()
    >>> draws_by_outputs(reward, logits, None)
    True
    >>> draws_by_outputs(lambda z, y: z[torch.ones(8).multinomial(2)].sum(), logits, None)
    False
    """

    def drawn_by(noise: float) -> list[torch.Tensor]:
        torch.manual_seed(0)
        moved = mapped(lambda x: x + noise * torch.randn_like(x) if x.is_floating_point() else x, outputs)
        seen = _Draws()
        with torch.no_grad(), seen:
            loss_fn(moved, targets)
        return seen.by

    before, after = drawn_by(0.0), drawn_by(0.1)
    return any(x.shape == y.shape and not torch.equal(x, y) for x, y in zip(before, after, strict=False))


class _Draws(TorchDispatchMode):
    """Keeps the tensors that operators draw by."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.by: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name in _DRAWS:
            given = args[1:] if func._schema.name.endswith("_") else args
            self.by += [x.clone() for x in given if isinstance(x, torch.Tensor)]
        return func(*args, **(kwargs or {}))
