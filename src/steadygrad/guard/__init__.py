"""The guard of a training loop, and gradient clipping."""

from . import clip as clip
from .guard import Guard as Guard
from .ladder import Ladder as Ladder
from .spike import Spike as Spike
from .verdict import Outcome as Outcome
from .verdict import Verdict as Verdict
from .weak_hook import WeakHook as WeakHook
