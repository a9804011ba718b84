"""Structured logs: one JSON object a line on stderr, that never holds a secret.

Two guards, because either may be forgotten: values under a name that suggests a secret are dropped, and what
a URL holds besides scheme, host and port is cut out of every text (RPC URLs carry keys).
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final, TextIO

import structlog

_SECRET: Final = re.compile(
    r"pass(word|phrase)|secret|private|mnemonic|keystore|api_?key|authorization|raw_?tx", re.IGNORECASE
)
_URL: Final = re.compile(
    r"\b([a-z][a-z0-9+]*)://(?:[^\s/@]*@)?([^\s/?#\"')\]}]+)(?:[/?#][^\s\"')\]}]*)?", re.IGNORECASE
)
_HIDDEN: Final = "[hidden]"


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send this process's logs, those of libraries included, to `stream` (stderr) from `level` on."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                hide_secrets,
                structlog.processors.JSONRenderer(default=_plain),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "urllib3", "web3", "uvicorn.access", "alembic", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))


def get(name: str) -> structlog.stdlib.BoundLogger:
    """A logger: `log.info("settled", job=..., units=...)`, names in snake case, units in the name."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def hide_secrets(_: Any, __: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor: drop values with a telling name, and all but the origin of URLs in texts."""
    for key, value in entry.items():
        entry[key] = _HIDDEN if _SECRET.search(key) else _clean(value)
    return entry


def clean(text: str) -> str:
    """`text` with every URL cut down to scheme, host and port."""
    return _URL.sub(lambda match: f"{match[1]}://{match[2]}", text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {key: _HIDDEN if _SECRET.search(str(key)) else _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return clean(str(value))
