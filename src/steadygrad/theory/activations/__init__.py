"""The catalogue of activations, and any callable as one."""

from .activation import Activation as Activation
from .activation import ClosedForms as ClosedForms
from .callables import find_kinks as find_kinks
from .catalogue import NAMES as NAMES
from .catalogue import activation as activation
