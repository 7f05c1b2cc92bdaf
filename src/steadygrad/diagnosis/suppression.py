"""Findings that a user knows of and does not want to be told again, each with what covers it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import nn

from steadygrad.errors import not_allowed
from steadygrad.finding import Finding

from .rules import RULES
from .selection import beginning_with

M = TypeVar("M", bound=nn.Module)

# Plain tuples in the module's own dictionary: copies and pickles of the module keep them, and need nothing to be read.
_ATTRIBUTE = "_steadygrad_allowed"


@dataclass(frozen=True, kw_only=True)
class Suppression:
    """Findings of some codes in some modules, suppressed.

    Attributes:
        code: a rule's code, or the beginning of codes.
        pattern: a shell pattern of module paths, as ``"encoder.*"``.
        source: where it was asked for, in words.
        below: whether it covers what lies inside of the modules too.
    """

    code: str
    pattern: str
    source: str
    below: bool = False

    def covers(self, finding: Finding) -> bool:
        """Return whether the finding is one of those.

        >>> from steadygrad.finding import Level
        >>> found = Finding(code="FWD004", name="", level=Level.WARN, message="", module="encoder.0")
        >>> Suppression(code="FWD", pattern="encoder.*", source="pyproject.toml").covers(found)
        True
        """
        path = finding.module or ""
        inside = self.below and (not self.pattern or path.startswith(f"{self.pattern}."))
        return finding.code.startswith(self.code) and (inside or fnmatchcase(path, self.pattern))


def allow(module: M, code: str, *, reason: str) -> M:
    """Let a check say nothing of a rule in a module and below it, and return the module.

    It travels with the module, through copies and pickles. What turns out to suppress nothing is reported in the notes.

    Args:
        module: the module that is meant to be as it is.
        code: a rule's code, or the beginning of codes.
        reason: why, in words, for whoever reads the code.

    Raises:
        ValueError: no rule has the code, or the reason is empty.
        TypeError: `module` is no module.

    >>> gate = allow(nn.ReLU(), "FWD005", reason="The gate is closed until the warm-up ends.")
    """
    if not isinstance(module, nn.Module):
        raise TypeError(not_allowed("module", "must be a torch.nn.Module", module))
    beginning_with(RULES, "code", [code])
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError(not_allowed("reason", "must say why", reason))
    module.__dict__[_ATTRIBUTE] = (*_allowed_in(module), (code, reason))
    return module


def allowances(model: nn.Module) -> tuple[Suppression, ...]:
    """Return what `allow` was told in a model, by the paths of its modules.

    >>> model = nn.Sequential(allow(nn.ReLU(), "FWD005", reason="a gate"))
    >>> [(found.pattern, found.code) for found in allowances(model)]
    [('0', 'FWD005')]
    """
    return tuple(
        Suppression(code=code, pattern=path, below=True, source=f"allow({path or 'the model'!r}, {code!r})")
        for path, module in model.named_modules()
        for code, _ in _allowed_in(module)
    )


def suppressed(
    findings: Iterable[Finding], suppressions: Sequence[Suppression], checked: Sequence[str]
) -> tuple[list[Finding], list[str]]:
    """Return the findings that nothing covers, and in words the suppressions that cover none.

    A suppression of a rule that did not look is not called unused.

    Args:
        findings: all there are.
        suppressions: what to leave out.
        checked: codes of the rules that looked.
    """
    found = list(findings)
    unused = [
        s for s in suppressions if any(c.startswith(s.code) for c in checked) and not any(s.covers(f) for f in found)
    ]
    kept = [f for f in found if not any(s.covers(f) for s in suppressions)]
    return kept, [f"{s.source} suppresses nothing." for s in unused]


def _allowed_in(module: nn.Module) -> tuple[tuple[str, str], ...]:
    return tuple(module.__dict__.get(_ATTRIBUTE, ()))
