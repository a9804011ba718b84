"""`python -m bench`: measure gas and write `bench/*.json`; with `--check`, compare with `bench/gas.json`."""

from __future__ import annotations

import sys

from bench import flat, gas


def main(arguments: list[str]) -> int:
    """Measure, print, and write or compare. Returns the exit status."""
    figures = gas.measure()
    gas.show(figures)
    if arguments == ["--check"]:
        problems = gas.risen(figures)
    else:
        gas.write(figures)
        crowded = flat.measure()
        flat.show(crowded)
        flat.write(crowded)
        problems = flat.uneven(crowded)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
