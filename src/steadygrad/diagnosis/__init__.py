"""check: what is wrong with a training setup, the cause first."""

from .check import check as check
from .report import Report as Report
from .static import check_static as check_static
