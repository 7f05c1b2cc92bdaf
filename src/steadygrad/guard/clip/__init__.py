"""Gradient clipping: policies that remember what they did, and the actions alone."""

from .adaptive import Adaptive as Adaptive
from .adaptive import adaptive_ as adaptive_
from .by_norm import ByNorm as ByNorm
from .by_norm import norm_ as norm_
from .by_value import ByValue as ByValue
from .by_value import value_ as value_
from .chain import Chain as Chain
from .gradients import Gradients as Gradients
from .per_parameter import PerParameter as PerParameter
from .percentile import Percentile as Percentile
from .policy import Policy as Policy
from .policy import Scaling as Scaling
from .recommend import Recommendation as Recommendation
from .recommend import recommend as recommend
from .tally import ClipStatistics as ClipStatistics
from .z_score import ZScore as ZScore
