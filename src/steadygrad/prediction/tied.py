"""Which signals have met weights that are met again, and which are gradients, that come in at more than one step."""

from __future__ import annotations

import numpy as np

from .by_origin import ByOrigin
from .kinship import Beside, Drawn, Function, Like, Origin, Part, Product, Sum, Through
from .values import Moments


class Tied(ByOrigin[bool]):
    """Whether a signal's units meet weights that are met again, or one weight at several positions."""

    def __init__(self) -> None:
        super().__init__()
        self.again: set[int] = set()

    def given(self, m: Moments) -> bool:
        """No."""
        return False

    def found(self, m: Moments, origin: Origin) -> bool:
        """As any of what it was made of."""
        match origin:
            case Through(weight):
                return weight in self.again
            case Function(source, _, base):
                return any(self.of(x) for x in (source.root, base) if x is not None)
            case Like():
                return False
            case Sum(parts) | Beside(parts):
                return any(self.of(part) for part, _ in parts)
            case Product(first, second):
                return self.of(first) or self.of(second)
            case Part(whole, _, places):
                return self.of(whole) or (bool(places) and _is_of_places(whole))
            case _:
                return False


def _is_of_places(whole: Moments) -> bool:
    """Whether what a weight, or the start of a gradient, makes at each of several positions is known."""
    match whole.origin:
        case Sum(parts) | Beside(parts):
            return any(_is_of_places(part) for part, _ in parts)
        case origin:
            return isinstance(origin, Through | Drawn)


class Back(ByOrigin[bool]):
    """Whether a signal is a gradient."""

    def given(self, m: Moments) -> bool:
        """Of what is not known, no."""
        return False

    def found(self, m: Moments, origin: Origin) -> bool:
        """As what it was made of."""
        match origin:
            case Through(back=back):
                return back
            case Function(base=base):
                return base is not None
            case Sum(parts) | Beside(parts):
                return any(self.of(part) for part, _ in parts)
            case Part(whole):
                return self.of(whole)
            case _:
                return isinstance(origin, Drawn)


class AtSteps(ByOrigin[bool]):
    """Whether a gradient has come in at more than one of several positions."""

    def given(self, m: Moments) -> bool:
        """Of what is not known, no."""
        return False

    def found(self, m: Moments, origin: Origin) -> bool:
        """Where it is a part of one that has more than one that is not zero; else as any of what it was made of."""
        match origin:
            case Part(whole, _, places):
                several = whole.field is not None and bool(np.count_nonzero(whole.field.share) > 1)
                return (bool(places) and several) or self.of(whole)
            case Through(_, before) | Function(_, _, Moments() as before):
                return self.of(before)
            case Sum(parts) | Beside(parts):
                return any(self.of(part) for part, _ in parts)
            case _:
                return False
