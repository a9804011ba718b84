"""FOCUS rows to a file: CSV by the standard library, Parquet by pyarrow (extra `report`). Neither holds all
rows.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from scrip.chargeback.focus import COLUMNS, NUMBERS, TIMES, Row
from scrip.errors import BadInput, ScripError

Write = Callable[[Row], None]
BATCH: Final = 10_000
"""Rows of a Parquet row group."""


class ReportPartMissing(ScripError):
    """A library that only some forms of a report need isn't installed."""

    def __init__(self, what: str, library: str) -> None:
        super().__init__(f"{what} needs {library}: pip install 'scrip[report]'")


@contextmanager
def writer(path: Path) -> Iterator[Write]:
    """A function that adds a row to `path`, which appears whole at the end or not at all.

    Raises BadInput for a name that doesn't end in .csv or .parquet, ReportPartMissing without pyarrow.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise BadInput("--focus", path.name, "a file name that ends in .csv or .parquet")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with kind(draft) as write:
            yield write
        draft.replace(path)
    except OSError as error:
        raise BadInput("--focus", str(path), f"a file that can be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        made = csv.DictWriter(file, COLUMNS)  # None is written as nothing
        made.writeheader()

        def write(row: Row) -> None:
            made.writerow(row)

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ReportPartMissing("a Parquet file", "pyarrow") from None
    types = dict.fromkeys(NUMBERS, pa.float64()) | dict.fromkeys(TIMES, pa.timestamp("ms", tz="UTC"))
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
    waiting: list[dict[str, Any]] = []
    with pq.ParquetWriter(path, schema) as out:

        def flush() -> None:
            out.write_table(pa.Table.from_pylist(waiting, schema))
            waiting.clear()

        def write(row: Row) -> None:
            waiting.append({name: _typed(name, value) for name, value in row.items()})
            if len(waiting) >= BATCH:
                flush()

        yield write
        flush()


def _typed(name: str, value: str | None) -> object:
    if value is None:
        return None
    if name in NUMBERS:
        return float(value)
    return datetime.fromisoformat(value) if name in TIMES else value


_KINDS: Final = {".csv": _csv, ".parquet": _parquet}
