"""`python -m catp.cli`: the `catp` command without the console script."""

from catp.cli.main import main

main()
