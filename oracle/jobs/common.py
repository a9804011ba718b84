"""What the job programs share: reading their orders, leaving results, saying what is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from oracle.jobs.names import OUTPUT, PARAMS, SETTINGS, USAGE
from oracle.jobs.params import Params, Strict

EXIT_BAD_PARAMS: Final = 2
"""The parameters are outside what the template accepts: the buyer's mistake."""
EXIT_UNABLE: Final = 3
"""The provider's machine lacks what the template needs."""

P = TypeVar("P", bound=Params)
S = TypeVar("S", bound=Strict)
M = TypeVar("M", bound=Strict)


class BadParams(Exception):
    """The job can't be done with these parameters."""


class Unable(Exception):
    """Something that the provider must supply is missing or isn't what its catalogue says."""


@dataclass(frozen=True, slots=True)
class Result:
    """`output` is what the buyer gets; `usage` holds whole numbers and short texts."""

    output: bytes
    usage: dict[str, int | str]


def main(
    params: type[P], settings: type[S], work: Callable[[P, S], Result], argv: list[str] | None = None
) -> int:
    """Runs one job in the work directory named by the only argument and returns the exit code.

    Bad parameters give 2 and a missing model or engine gives 3, each with one line on stderr. Any other
    exception is a bug and leaves its traceback.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if len(arguments) != 1:
            raise BadParams(f"given {len(arguments)} arguments, must be 1: the work directory")
        workdir = Path(arguments[0])
        result = work(_read(workdir / PARAMS, params), _read(workdir / SETTINGS, settings))
    except BadParams as problem:
        return _say(str(problem), EXIT_BAD_PARAMS)
    except Unable as problem:
        return _say(str(problem), EXIT_UNABLE)
    (workdir / OUTPUT).write_bytes(result.output)
    (workdir / USAGE).write_text(json.dumps(result.usage, sort_keys=True), encoding="utf-8")
    return 0


def json_bytes(output: object) -> bytes:
    """JSON in one form, so that equal results are equal bytes: keys sorted, no blanks, ASCII."""
    return json.dumps(output, sort_keys=True, separators=(",", ":")).encode("ascii")


def _read(path: Path, model: type[M]) -> M:
    try:
        return model.model_validate_json(path.read_bytes())
    except OSError as problem:
        raise BadParams(f"{path.name}: {problem.strerror}") from problem
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadParams(f"{path.name}: {where or 'object'}: {first['msg']}") from problem


def _say(text: str, code: int) -> int:
    print(" ".join(text.split())[:500], file=sys.stderr)
    return code
