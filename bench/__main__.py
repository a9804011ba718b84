"""`python -m bench`: measure gas and write `bench/gas.json`; with `--check`, compare it with that file."""

from __future__ import annotations

import sys

from bench import gas


def main(arguments: list[str]) -> int:
    """Measure, print, and write or compare. Returns the exit status."""
    figures = gas.measure()
    gas.show(figures)
    if arguments == ["--check"]:
        risen = gas.risen(figures)
        print("\n".join(risen))
        return 1 if risen else 0
    gas.write(figures)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
