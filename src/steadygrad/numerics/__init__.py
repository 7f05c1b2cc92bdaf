"""The softmax family, stable and bounded: NumPy arrays and torch tensors alike."""

from .audit import UnstableForm as UnstableForm
from .audit import audit as audit
from .cross_entropy import cross_entropy as cross_entropy
from .entropy import entropy as entropy
from .kl_divergence import kl_divergence as kl_divergence
from .linear_cross_entropy import linear_cross_entropy as linear_cross_entropy
from .logsumexp import logsumexp as logsumexp
from .online_logsumexp import RunningLogSumExp as RunningLogSumExp
from .online_logsumexp import online_logsumexp as online_logsumexp
from .sigmoid import log1mexp as log1mexp
from .sigmoid import log_sigmoid as log_sigmoid
from .sigmoid import sigmoid as sigmoid
from .sigmoid import softplus as softplus
from .softmax import log_softmax as log_softmax
from .softmax import softmax as softmax
