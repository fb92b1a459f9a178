"""`python -m revops_lite.cli` is the `revops` program."""

from revops_lite.cli import main

main()
