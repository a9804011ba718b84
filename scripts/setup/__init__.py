"""Set-up of a fresh clone: `python3 -m scripts.setup`. Needs nothing but Python's standard library."""
