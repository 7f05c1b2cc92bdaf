"""Which bounds held in this process, and the exit status that says so."""

import sys

_verdicts: list[bool] = []


def verdict(held: bool) -> str:
    """The word for a bound that holds or does not; `end` remembers it."""
    _verdicts.append(held)
    return "holds" if held else "DOES NOT HOLD"


def end() -> None:
    """Exit with status 1 where a bound did not hold, else with 0."""
    sys.exit(0 if all(_verdicts) else 1)
