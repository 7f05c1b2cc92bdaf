"""What a few small steps show, taken and undone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import nn

from steadygrad.errors import in_short
from steadygrad.fans import weight_fans
from steadygrad.measurement import VirtualSteps, virtual_steps
from steadygrad.measurement.virtual_steps import STEPS

from .clean_batches import clean_batches
from .collector import Collector, Unavailable
from .measured import Measured, has_matrix, is_matrix
from .optimized import Optimized


@dataclass(frozen=True, kw_only=True)
class Stepped:
    """Three virtual steps on the first batches.

    Attributes:
        model: the model, as it was.
        steps: what they showed.
        examples: how many examples were seen.
        wanted: trainable parameters that the optimizer holds; all of them where there is no optimizer.
    """

    model: nn.Module
    steps: VirtualSteps
    examples: int
    wanted: tuple[str, ...]

    passes: ClassVar[float] = 3.0
    what: ClassVar[str] = "three virtual steps"

    @classmethod
    def collect(cls, collector: Collector) -> Self:
        """Step and undo."""
        collector.get(Measured)  # what the user's own code raises is told there
        batches, setup = clean_batches(collector, STEPS), collector.setup
        try:
            found = virtual_steps(setup.model, [(b.inputs, b.targets) for b in batches], setup.loss_fn)
        except Exception as error:
            raise Unavailable(f"No virtual step could be taken: {in_short(error)}.") from error
        return cls(
            model=setup.model,
            steps=found,
            examples=sum(b.size for b in batches),
            wanted=tuple(name for name in found.reached if _held(collector, name)),
        )

    def weighted(self) -> Iterator[tuple[str, nn.Module]]:
        """Modules whose weights sum, with their paths; lookups are not among them."""
        for path, module in self.model.named_modules():
            try:
                if weight_fans(module) and not isinstance(module, nn.Embedding | nn.EmbeddingBag | nn.Bilinear):
                    yield path, module
            except TypeError:
                continue

    def matrices(self) -> Iterator[str]:
        """Names of the matrices in modules of the user's own, whose layout is not known."""
        for path, module in self.model.named_modules():
            if has_matrix(module):
                for name, p in module.named_parameters(path, recurse=False):
                    if is_matrix(p):
                        yield name

    def tables(self) -> Iterator[str]:
        """Names of the tables that rows are looked up in."""
        for path, module in self.model.named_modules():
            if isinstance(module, nn.Embedding | nn.EmbeddingBag):
                yield f"{path}.weight" if path else "weight"

    def weight(self, name: str) -> nn.Parameter:
        """Return a parameter as it stands."""
        return self.model.get_parameter(name)

    def share(self, names: Iterable[str]) -> float:
        """Share of all trainable numbers that parameters hold."""
        sizes = {name: p.numel() for name, p in self.steps.after.items()}
        return sum(sizes[name] for name in names) / max(sum(sizes.values()), 1)


def _held(collector: Collector, name: str) -> bool:
    try:
        return name in collector.get(Optimized).names
    except Unavailable:
        return True
