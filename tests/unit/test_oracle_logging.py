"""Logs are JSON lines and never hold a secret, whoever writes them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from oracle.logging import clean, configure, get


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    made = io.StringIO()
    configure("INFO", made)
    yield made
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://node.test/v2/KEY?x=1 now", "see https://node.test now"),
        ("https://user:pw@node.test:8545/KEY", "https://node.test:8545"),
        ("postgresql+psycopg://me:pw@db/oracle", "postgresql+psycopg://db"),
        ("wss://node.test", "wss://node.test"),
        ("no URL here: a/b", "no URL here: a/b"),
    ],
)
def test_clean__urls__keep_only_their_origin(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_log__secret_names_and_urls__are_hidden_at_any_depth(stream: io.StringIO) -> None:
    get("test").warning(
        "started",
        password="hunter2",  # noqa: S106
        nested={"private_key": "0xabc", "url": "http://n.test/KEY"},
        list=["http://n.test/KEY"],
    )
    [entry] = lines(stream)
    assert "hunter2" not in stream.getvalue()
    assert "KEY" not in stream.getvalue()
    assert entry["password"] == entry["nested"]["private_key"] == "[hidden]"  # noqa: S105
    assert (entry["event"], entry["level"]) == ("started", "warning")


def test_log__by_a_library__is_json_and_clean_too(stream: io.StringIO) -> None:
    logging.getLogger("some.library").error("failed at %s", "https://node.test/v2/KEY")
    [entry] = lines(stream)
    assert entry["event"] == "failed at https://node.test"


def test_log__exception__has_its_traceback_without_the_key(stream: io.StringIO) -> None:
    try:
        raise ValueError("http://node.test/KEY")
    except ValueError as error:
        get("test").error("failed", exc_info=error)
    [entry] = lines(stream)
    assert "ValueError" in entry["exception"]
    assert "KEY" not in entry["exception"]


def test_log__bytes_and_objects__are_shown_as_text(stream: io.StringIO) -> None:
    get("test").info("job", job=b"\x01\x02", where=object)
    assert lines(stream)[0]["job"] == "0x0102"


def test_log__below_the_level__is_left_out(stream: io.StringIO) -> None:
    get("test").debug("nothing")
    assert stream.getvalue() == ""
