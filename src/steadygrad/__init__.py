"""Whether a network's signals and gradients survive, before and during training; why not; and what to change.

Names load on first use, so that `steadygrad.theory` runs without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

if TYPE_CHECKING:
    from . import init as init
    from . import numerics as numerics
    from . import study as study
    from . import theory as theory
    from .diagnosis import Report as Report
    from .diagnosis import allow as allow
    from .diagnosis import check as check
    from .finding import Finding as Finding
    from .finding import Level as Level
    from .guard import Guard as Guard
    from .guard import Ladder as Ladder
    from .guard import Spike as Spike
    from .guard import clip as clip
    from .measurement import measure as measure
    from .prediction import Inputs as Inputs
    from .prediction import predict as predict
    from .profile import Comparison as Comparison
    from .profile import LayerSignal as LayerSignal
    from .profile import Profile as Profile
    from .remedies import Reviver as Reviver
    from .remedies import convert_ as convert_
    from .remedies import revive_ as revive_
    from .setup import Setup as Setup

__version__ = "0.1.0"

__all__ = lazy_names(
    __name__,
    {
        "diagnosis": ("Report", "allow", "check"),
        "finding": ("Finding", "Level"),
        "guard": ("Guard", "Ladder", "Spike", "clip"),
        "init": (),
        "measurement": ("measure",),
        "numerics": (),
        "prediction": ("Inputs", "predict"),
        "profile": ("Comparison", "LayerSignal", "Profile"),
        "remedies": ("Reviver", "convert_", "revive_"),
        "setup": ("Setup",),
        "study": (),
        "theory": (),
    },
)
