"""`python -m service.cli`: the command line where the package is not installed, as in a Bento."""

from service.cli.main import main

main()
