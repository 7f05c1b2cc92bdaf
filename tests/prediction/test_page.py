"""The page on predict names every family of operators, with what its file says that it assumes."""

import importlib.util
from pathlib import Path

from steadygrad.prediction.operators import TABLE

PAGE = Path(__file__).parents[2] / "docs" / "theory" / "predict.md"
_spec = importlib.util.spec_from_file_location("families", PAGE.with_name("families.py"))
families = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(families)


def test_the_table_of_families_is_what_their_files_say():
    text = PAGE.read_text()
    assert families.with_table(text) == text, "python -m docs.theory.families writes the table"


def test_every_rule_belongs_to_a_family_of_the_table():
    packets = {packet for family in families.families() for packet in getattr(family, "RULES", {})}
    assert packets == {packet for packet in TABLE if not isinstance(packet, str)}
    assert all(len(family.__doc__.split()) > 5 for family in families.families())
