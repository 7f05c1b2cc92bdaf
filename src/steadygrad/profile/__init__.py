"""A profile, and a measured one held against a predicted one."""

from .comparison import Comparison as Comparison
from .comparison import Deviation as Deviation
from .profile import LayerSignal as LayerSignal
from .profile import Mark as Mark
from .profile import Profile as Profile
