"""What rules look at, a type each; collected once, and only where a selected rule asks for it."""

from .collector import Collector as Collector
from .collector import Evidence as Evidence
from .collector import Unavailable as Unavailable
from .gradient_tail import GradientTail as GradientTail
from .layer_gains import LayerGain as LayerGain
from .layer_gains import LayerGains as LayerGains
from .measured import Measured as Measured
from .predicted import Predicted as Predicted
from .probe import Probe as Probe
from .rates import Rates as Rates
from .retrials import RateTrials as RateTrials
from .retrials import Retrial as Retrial
from .retrials import Retrials as Retrials
from .scanned import NonfiniteBatch as NonfiniteBatch
from .scanned import Scanned as Scanned
from .trained import Trained as Trained
from .trained import UnitDeaths as UnitDeaths
