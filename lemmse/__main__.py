"""`python -m lemmse` is the command line."""

from .cli import main

main()
