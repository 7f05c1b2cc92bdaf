"""Initializers: in place, on fans, for a layer or all layers of a module."""

from .he import he_normal_ as he_normal_
from .he import he_uniform_ as he_uniform_
from .lecun import lecun_normal_ as lecun_normal_
from .lecun import lecun_uniform_ as lecun_uniform_
from .variance_scaling import variance_scaling_ as variance_scaling_
from .xavier import xavier_normal_ as xavier_normal_
from .xavier import xavier_uniform_ as xavier_uniform_
