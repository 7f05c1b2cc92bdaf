"""A rule from its file: the docstring is its page, the annotations of `check` say what it needs."""

from __future__ import annotations

import inspect
import re
from types import ModuleType
from typing import get_type_hints

from steadygrad.finding import Rule

_FENCE = re.compile(r"^(Bad|Good):\n+```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def rule(code: str, name: str, module: ModuleType, *, explained_by: tuple[str, ...] = ()) -> Rule:
    """Return the rule that a module holds.

    Args:
        code: the rule's code.
        name: the defect, in kebab case.
        module: its docstring is the page; its `check` takes evidence by the types that it is annotated with.
        explained_by: codes of the rules whose findings explain this one's.

    >>> from steadygrad.diagnosis.rules import RULES
    >>> [kind.__name__ for kind in RULES["DAT003"].needs]
    ['Scanned']
    """
    assert module.__doc__, f"{module.__name__} has no page"
    hints = get_type_hints(module.check)
    needs = tuple(hints[parameter] for parameter in inspect.signature(module.check).parameters)
    return Rule(code=code, name=name, page=module.__doc__, needs=needs, check=module.check, explained_by=explained_by)


def examples(page: str) -> dict[str, str]:
    r"""Return the code of a page's bad and good example.

    >>> examples("Bad:\n\n```python\\nx = 1\\n```\\n")
    {'Bad': 'x = 1\\n'}
    """
    return dict(_FENCE.findall(page))
