"""check: what is wrong with a training setup, the cause first."""

from .baseline import Baseline as Baseline
from .check import check as check
from .configuration import Configuration as Configuration
from .evidence.collector import LONGEST as LONGEST
from .init_plan import init_plan as init_plan
from .report import Report as Report
from .static import check_static as check_static
from .suppression import allow as allow
from .used_up_data import without_used_up_data as without_used_up_data
