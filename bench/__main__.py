"""`python -m bench`: run every benchmark and write its results beside it."""

from __future__ import annotations

import sys

from bench import gas


def main() -> int:
    """Run the benchmarks, print their figures and write `bench/*.json`."""
    figures = gas.measure()
    gas.write(figures)
    gas.show(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
