"""check: what is wrong with a training setup, the cause first."""

from .baseline import Baseline as Baseline
from .check import check as check
from .configuration import Configuration as Configuration
from .report import Report as Report
from .suppression import allow as allow
