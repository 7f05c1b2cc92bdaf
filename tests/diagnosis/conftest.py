import sys
from pathlib import Path

import pytest

from steadygrad.diagnosis.evidence import fault

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _no_fault_is_tolerated(monkeypatch):
    """A check goes on after an error of ours; a test that meets one fails."""
    monkeypatch.setattr(fault, "TOLERATED", ())
