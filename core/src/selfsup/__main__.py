"""Run the command line with ``python -m selfsup``."""

from selfsup.cli.main import main

main()
