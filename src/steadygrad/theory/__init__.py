"""The calculus of signal propagation: floats and callables in, frozen results out; NumPy and SciPy alone."""

from .activations import NAMES as NAMES
from .activations import Activation as Activation
from .activations import ClosedForms as ClosedForms
from .activations import activation as activation
from .correlation_map import correlation_map as correlation_map
from .correlation_map import derivative_gap_map as derivative_gap_map
from .correlation_map import derivative_square_correlation as derivative_square_correlation
from .correlation_map import gap_map as gap_map
from .correlation_map import square_correlation as square_correlation
from .gain import Gain as Gain
from .gain import gain as gain
from .gain import stability as stability
from .gaussian import gaussian_mean as gaussian_mean
from .moments import Moments as Moments
from .moments import moments as moments
from .variance_map import FixedPoint as FixedPoint
from .variance_map import FixedPoints as FixedPoints
from .variance_map import depth_scale as depth_scale
from .variance_map import fixed_points as fixed_points
from .variance_map import variance_map as variance_map
