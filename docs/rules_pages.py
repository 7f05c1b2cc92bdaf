"""Write docs/rules from the rules' own pages: `python docs/rules_pages.py`."""

from __future__ import annotations

from pathlib import Path

from steadygrad.diagnosis.rules import RULES
from steadygrad.report import rule_page

HERE = Path(__file__).parent / "rules"
INTRODUCTION = """# Rules

What `steadygrad check` looks for, from cause to effect; `steadygrad rule CODE` prints the same pages. Each page is the
docstring of the rule's file, and its bad and good examples are run by the tests.

| code | name | what it finds |
|---|---|---|
"""


def pages() -> dict[str, str]:
    """The files of docs/rules, by name."""
    rows = [f"| [{r.code}]({r.code}.md) | {r.name} | {rule_page.summary(r)} |" for r in RULES.values()]
    written = {f"{rule.code}.md": rule_page.render(rule) + "\n" for rule in RULES.values()}
    return {"index.md": INTRODUCTION + "\n".join(rows) + "\n", **written}


def main() -> None:
    """Write them, and leave nothing else in the folder."""
    HERE.mkdir(exist_ok=True)
    made = pages()
    for old in HERE.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (HERE / name).write_text(text)


if __name__ == "__main__":
    main()
