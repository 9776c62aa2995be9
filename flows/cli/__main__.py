"""`python -m flows.cli`: the command line as a program; `dsanet.__main__` starts it after its check."""

from flows.cli.main import main

main()
