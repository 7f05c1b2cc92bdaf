"""Pictures of the theory, as Altair charts; Altair is imported when the first is drawn."""

from .depth import norm_band as norm_band
from .depth import signal_with_depth as signal_with_depth
from .fans import forward_and_backward_factors as forward_and_backward_factors
from .jacobian import jacobian_spectrum as jacobian_spectrum
from .maps import correlation_map as correlation_map
from .maps import variance_map as variance_map
from .phases import phase_diagram as phase_diagram
from .risks import clipped_share as clipped_share
from .risks import dead_units as dead_units
from .risks import softmax_scale as softmax_scale
