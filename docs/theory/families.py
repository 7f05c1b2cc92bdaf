"""Write the table of operator families into predict.md: `python -m docs.theory.families` from the repository's root."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from steadygrad.prediction import operators
from steadygrad.prediction.operators import crops, decompositions, parameters

PAGE = Path(__file__).with_name("predict.md")
BEGIN, END = "<!-- families: begin -->\n", "<!-- families: end -->\n"
SHOWN = 5  # operators named in a row
GENERAL = {
    parameters: "all that are pointwise",
    decompositions: "all that torch decomposes",
    crops: "all that take entry by entry",
}


def families() -> list[ModuleType]:
    """Return the modules that have rules, by name, and those of what operators have in common."""
    names = sorted(module.name for module in pkgutil.iter_modules(operators.__path__))
    modules = [importlib.import_module(f"{operators.__name__}.{name}") for name in names]
    return [module for module in modules if getattr(module, "RULES", None) or module in GENERAL]


def row(family: ModuleType) -> str:
    """Return a family's row: what it is, what it takes for granted, some of its operators."""
    first, *rest = (" ".join(part.split()) for part in (family.__doc__ or "").strip().split("\n\n"))
    title, _, what = first.partition(": ") if ":" in first else first.partition(". ")
    said = " ".join([what[:1].upper() + what[1:], *rest]).strip()
    names = sorted({str(packet).removeprefix("aten.") for packet in getattr(family, "RULES", {})})
    named = [f"`{name}`" for name in names[:SHOWN]] + ([f"and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])
    return f"| {title} | {said.replace('|', chr(92) + '|')} | {', '.join(named) or GENERAL[family]} |\n"


def table() -> str:
    """Return the table of all families."""
    return "| family | what it says and assumes | operators |\n|---|---|---|\n" + "".join(map(row, families()))


def with_table(text: str) -> str:
    """Return the page's text with the table between its marks."""
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
