import sys
from pathlib import Path

# Processes that a test starts import it by its full name, so they need the root too.
sys.path[:0] = [str(Path(__file__).parents[k]) for k in range(3)]
