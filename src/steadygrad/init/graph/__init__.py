"""The graph of a model: the operators that it runs, and what each weight is fed by and followed by."""

from .node import Node as Node
from .node import Ref as Ref
from .trace import trace as trace
