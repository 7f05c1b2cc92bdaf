"""The tool on a network that does not learn: what is wrong, what mends it, and that it then learns.

Ends with status 0 where everything came out as it should, the findings included, and with 1 where anything did not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from deep_mlp import mended, setup, train

EXAMPLE = os.path.relpath(Path(__file__).with_name("deep_mlp.py"))
CHANCE, LEARNED = 0.2, 0.9  # of ten classes: twice a guess, and nine in ten


def check(*arguments: str, expected: int) -> str:
    """Run `steadygrad check`, echo it, and return what it printed; another exit status than expected ends the demo."""
    print(f"$ steadygrad check {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "steadygrad", "check", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != expected:
        sys.exit(f"expected exit status {expected}, got {done.returncode}\n{done.stdout}")
    return done.stdout


def first_finding(page: str) -> str:
    """Check the network as PyTorch initializes it, show what was found, and return the code of the first finding."""
    print(printed := check(EXAMPLE, "--html", page, expected=1))
    code = re.search(r"[A-Z]{3}\d{3}", printed)
    return code.group() if code else "nothing"


def main() -> None:
    """Find, mend, train."""
    page = Path("report.html")
    page.unlink(missing_ok=True)
    if (code := first_finding(str(page))) != "INI001" or not page.is_file():
        sys.exit(f"expected INI001 as the first finding and a page, got {code} and {page.is_file()}")
    print(check(f"{EXAMPLE}:mended", expected=0))
    default, better = train(setup()), train(mended())
    print(f"Accuracy on digits that were held out: {default:.2f} as it was, {better:.2f} mended.")
    if default > CHANCE or better < LEARNED:
        sys.exit(f"expected at most {CHANCE} as it was and at least {LEARNED} mended")


if __name__ == "__main__":
    main()
