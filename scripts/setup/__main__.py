"""Entry of the set-up. Kept readable by any Python, so that an old one is named instead of a SyntaxError."""

import sys

OLDEST_PYTHON = (3, 11)


def main():  # type: () -> int  # an annotation would not parse under every old Python
    """Refuse a Python that is too old in one line, then hand over. Returns the exit status."""
    if sys.version_info < OLDEST_PYTHON:
        sys.stderr.write(
            "[setup] Python %d.%d is too old: install Python 3.11 or newer"
            " (Debian: apt-get install python3 python3-venv)\n" % sys.version_info[:2]
        )
        return 1
    from scripts.setup.steps import run

    return run()


if __name__ == "__main__":
    sys.exit(main())
