"""`python -m lemmse` is the command line."""

from lemmse.cli import main

main()
