"""`python -m accelsim` is `accelsim`."""

from accelsim.cli import main

main()
