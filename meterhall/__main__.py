"""`python -m meterhall`."""

from meterhall.cli import main

main()
