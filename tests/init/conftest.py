import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[k]) for k in range(2)]
