"""What a check says: a finding, its level, and the rule that it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much a finding matters.

    `ERROR`: training cannot work as it is. `WARN`: it will probably suffer. `INFO`: worth knowing, fails no check.
    """

    ERROR = "error"
    WARN = "warn"
    INFO = "info"

    @property
    def rank(self) -> int:
        """0 for the gravest.

        >>> sorted([Level.INFO, Level.ERROR, Level.WARN], key=lambda level: level.rank)
        [<Level.ERROR: 'error'>, <Level.WARN: 'warn'>, <Level.INFO: 'info'>]
        """
        return list(Level).index(self)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One defect: where it is, what was measured, what theory expects, and what to do.

    Attributes:
        code: the rule's code, such as ``"INI001"``.
        name: the rule's name, such as ``"init-gain-mismatch"``.
        level: how much it matters.
        message: the cause, in one sentence.
        module: path of the module, ``""`` for the whole model, None where no module is concerned.
        measured: the number that was found, in the unit that the message gives it.
        expected: the number that theory expects there.
        standard_error: of `measured`; None where the number is exact.
        count: how many samples `measured` rests on.
        fix: what to do, in words.
        fix_code: the same as Python code, where it is safe to give.
        line: ``"file.py:12"`` of the source line concerned.
        defined: ``"folder/file.py:12"``, where the user's own class that holds the module begins.
        step: the training step, for what happens in a run.
        consequences: findings that this one explains.

    >>> Finding(code="INI001", name="init-gain-mismatch", level=Level.ERROR, message="too small").module is None
    True
    """

    code: str
    name: str
    level: Level
    message: str
    module: str | None = None
    measured: float | None = None
    expected: float | None = None
    standard_error: float | None = None
    count: int | None = None
    fix: str = ""
    fix_code: str = ""
    line: str | None = None
    defined: str | None = None
    step: int | None = None
    consequences: tuple[Finding, ...] = ()

    def __str__(self) -> str:
        """Return the finding in one line, as a log takes it.

        >>> print(Finding(code="GRD002", name="skipped-step", level=Level.WARN, message="The loss is nan."))
        warn GRD002 skipped-step: The loss is nan.
        """
        where = f" in {self.module}" if self.module else ""
        line = f" ({self.line})" if self.line else ""
        return f"{self.level} {self.code} {self.name}{where}{line}: {self.message}{f' {self.fix}' if self.fix else ''}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule: what it is called, its documentation page, and the function that looks.

    Attributes:
        code: ``"INI001"``; codes are append-only.
        name: the defect, in kebab case.
        page: the documentation, Markdown.
        needs: the types of evidence that `check` takes, in the order of its arguments.
        check: takes that evidence, yields findings.
        explained_by: codes of the rules whose findings, where present, explain this rule's.
    """

    code: str
    name: str
    page: str
    needs: tuple[type, ...]
    check: Callable[..., Iterable[Finding]]
    explained_by: tuple[str, ...] = ()

    def __call__(self, *evidence: Any) -> list[Finding]:
        """Return what the rule finds in the evidence."""
        return list(self.check(*evidence))
