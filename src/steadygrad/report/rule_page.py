"""A rule's page, and the table of rules, as text and as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from steadygrad.finding import Rule


def summary(rule: Rule) -> str:
    """Return the first paragraph of a rule's page, in one line.

    >>> summary(Rule(code="INI001", name="gain", page="Too small.", needs=(), check=list))
    'Too small.'
    """
    return " ".join(rule.page.strip().partition("\n\n")[0].split())


def render(rule: Rule) -> str:
    """Return a rule's page as Markdown: its heading, the page, and what explains it.

    >>> print(render(Rule(code="BWD001", name="small", page="Gone.", needs=(), check=list, explained_by=("INI001",))))
    # BWD001 small
    <BLANKLINE>
    Gone.
    <BLANKLINE>
    Explained by, where present: INI001.
    """
    parts = [f"# {rule.code} {rule.name}", rule.page.strip()]
    if rule.explained_by:
        parts.append(f"Explained by, where present: {', '.join(rule.explained_by)}.")
    return "\n\n".join(parts)


def table(rules: Iterable[Rule], *, width: int = 100) -> str:
    """Return a row a rule: code, name, summary, folded to the width.

    >>> print(table([Rule(code="INI001", name="gain", page="Too small.", needs=(), check=list)]))
    INI001  gain  Too small.
    """
    found = list(rules)
    longest = max((len(rule.name) for rule in found), default=0)
    indent = " " * (8 + longest + 2)
    lines = []
    for rule in found:
        head = f"{rule.code}  {rule.name:{longest}}  "
        lines += textwrap.wrap(head + summary(rule), max(width, len(indent) + 20), subsequent_indent=indent)
    return "\n".join(lines)
