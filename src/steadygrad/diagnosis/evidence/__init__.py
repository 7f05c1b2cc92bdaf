"""What rules look at, a type each; collected once, and only where a selected rule asks for it."""

from .affinity import Affinity as Affinity
from .class_numbering import ClassNumbering as ClassNumbering
from .collector import Collector as Collector
from .collector import Evidence as Evidence
from .collector import Unavailable as Unavailable
from .entrance import Entrance as Entrance
from .exponents import Exponential as Exponential
from .exponents import Exponents as Exponents
from .head_operator import HeadOperator as HeadOperator
from .layer_gains import LayerGain as LayerGain
from .layer_gains import LayerGains as LayerGains
from .loss_run import LossPair as LossPair
from .loss_run import LossRun as LossRun
from .loss_watch import REGRESSIONS as REGRESSIONS
from .loss_watch import Broadcast as Broadcast
from .measured import Measured as Measured
from .mended_scales import OUT_OF_SCALE as OUT_OF_SCALE
from .mended_scales import ConstantInputs as ConstantInputs
from .mended_scales import DividedLoss as DividedLoss
from .mended_scales import InputScale as InputScale
from .mended_scales import TargetScale as TargetScale
from .predicted import Predicted as Predicted
from .rescaled import Comparison as Comparison
from .sampled import Sampled as Sampled
from .scanned import NonfiniteBatch as NonfiniteBatch
from .scanned import Scanned as Scanned
