"""Outputs made of the targets: what a model would give that knew them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from steadygrad.setup.parts import mapped, tensors_in

_Way = Callable[[torch.Tensor, torch.Tensor], torch.Tensor | None]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Outputs of which some say what the targets say, in one way.

    Attributes:
        output: the model's own, a tensor or several in a mapping or a sequence.
        targets: a row an example, for each of the outputs in turn.
        way: makes an output of the form of another that says what the targets say; None where it cannot.
    """

    output: Any
    targets: tuple[torch.Tensor, ...]
    way: _Way

    @property
    def said(self) -> torch.Tensor:
        """The first output that is made of the targets."""
        return next(said for said in self._made if said is not None)

    @property
    def several(self) -> bool:
        """Whether several numbers stand for one of a target, other than a class."""
        said = Counter[int]()
        for made, targets in zip(self._made, self.targets, strict=True):
            said[id(targets)] += 0 if made is None else made.numel()
        return any(y.is_floating_point() and said[id(y)] > y.numel() for y in self.targets)

    def with_(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        """Return the outputs, those changed that are made of the targets; the others stay as the model gave them.

        >>> answer = next(answers((torch.zeros(2, 1), torch.ones(3)), torch.tensor([[4.0], [5.0]])))
        >>> answer.with_(lambda said: said.roll(1, 0))
        (tensor([[5.],
                [4.]]), tensor([1., 1., 1.]))
        """
        made = iter(self._made)
        return mapped(lambda x: x.detach() if (said := next(made)) is None else change(said), self.output)

    @property
    def _made(self) -> list[torch.Tensor | None]:
        pairs = zip(tensors_in(self.output).values(), self.targets, strict=True)
        return [self.way(output, targets) for output, targets in pairs]


def answers(output: Any, targets: Any) -> Iterator[Answer]:
    """Yield outputs that say what the targets say: as log-probabilities, as probabilities, as numbers.

    A head may give several numbers for each of a target, as a mean and a deviation, quantiles, or the parts of a
    mixture: then all of them say it. What they say beside, such as how wide a density is, goes from example to example
    with it, so that its own cost is the same however examples are exchanged. Of several targets each output says the
    one of its own name, or of its place where names differ, in the first of the ways that it can.

    >>> [answer.said.tolist() for answer in answers(torch.zeros(2, 2), torch.tensor([[4.0], [5.0]]))][0]
    [[4.0, 4.0], [5.0, 5.0]]
    """
    each = _of_each_output(output, targets)
    ways: list[_Way] = [_log_probabilities, _probabilities, _blocks, _interleaved, _numbers, _within_0_and_1]
    if not isinstance(targets, torch.Tensor):
        ways = [_first_of(_log_probabilities, _blocks, _numbers), _first_of(_probabilities, _blocks, _within_0_and_1)]
    for way in ways if each else ():
        answer = Answer(output=output, targets=each, way=way)
        if any(said is not None for said in answer._made):
            yield answer


def _of_each_output(output: Any, targets: Any) -> tuple[torch.Tensor, ...]:
    """The targets of each output; none where it cannot be told which they are."""
    ours, theirs = tensors_in(output, ""), tensors_in(targets, "")
    if len(theirs) == 1:
        return tuple(theirs.values()) * len(ours)
    if set(ours) <= set(theirs):
        return tuple(theirs[name] for name in ours)
    return tuple(theirs.values()) if len(theirs) == len(ours) else ()


def _first_of(*ways: _Way) -> _Way:
    def way(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
        made = (each(output, targets) for each in ways)
        return next((said for said in made if said is not None), None)

    return way


def _log_probabilities(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    found = _one_hot(output, targets)
    return None if found is None else F.log_softmax(4 * found[1], found[0])


def _probabilities(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    found = _one_hot(output, targets)
    return None if found is None else F.softmax(4 * found[1], found[0])


def _numbers(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    return targets.reshape(output.shape).to(output.dtype) if targets.numel() == output.numel() else None


def _within_0_and_1(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    same = _numbers(output, targets)
    return None if same is None else 0.1 + 0.8 * same


def _blocks(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    """All numbers of a target, and then all again, as `chunk` takes them apart."""
    if (times := _times(output, targets)) is None:
        return None
    return targets.reshape(len(targets), -1).repeat(1, times).reshape(output.shape).to(output.dtype)


def _interleaved(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor | None:
    """Each number of a target several times."""
    if (times := _times(output, targets)) is None:
        return None
    return targets.reshape(len(targets), -1).repeat_interleave(times, 1).reshape(output.shape).to(output.dtype)


def _times(output: torch.Tensor, targets: torch.Tensor) -> int | None:
    """How many numbers of an example's output stand for one of its target; class numbers are none."""
    if not targets.is_floating_point() or output.shape[:1] != targets.shape[:1] or not targets.numel():
        return None
    times, rest = divmod(output.numel(), targets.numel())
    return times if times > 0 and not rest else None


def _one_hot(output: torch.Tensor, targets: torch.Tensor) -> tuple[int, torch.Tensor] | None:
    if targets.is_floating_point() or output.dim() < 2:
        return None
    for axis in (1, -1):
        rest = list(output.shape)
        kinds = rest.pop(axis)
        if kinds > 1 and list(targets.shape) == rest and int(targets.max()) < kinds:
            hot = F.one_hot(targets.clamp(min=0).long(), kinds).to(output.dtype)
            return axis, hot.movedim(-1, axis)
    return None
