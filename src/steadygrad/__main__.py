"""`python -m steadygrad` is `steadygrad`."""

from steadygrad.cli import main

main()
