"""Getting the content that a job is about: from an allowed origin, with the size and hash the buyer named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from oracle.fetch import FetchFailed, get, origin
from oracle.jobs.common import BadParams, Unable
from oracle.jobs.names import INPUT
from oracle.jobs.params import ArtefactParams, ArtefactSettings


def allowed(params: ArtefactParams, origins: Iterable[str]) -> bool:
    """Whether the content's origin is one of the provider's list, if it comes from anywhere."""
    given = origin(params.url or "")
    return params.url is None or (given != "" and given in {origin(each) for each in origins})


def fetch(params: ArtefactParams, settings: ArtefactSettings, folder: Path) -> bytes:
    """The content. Raises BadParams if it isn't what the buyer named, Unable if it can't be had."""
    content = _read(folder) if params.url is None else _download(params, params.url, settings)
    if len(content) != params.size or not intact(content, params):
        found = hashlib.sha256(content).hexdigest()
        raise BadParams(f"content: {len(content)} bytes of sha256 {found}, the spec names another")
    return content


def _read(folder: Path) -> bytes:
    try:
        return (folder / INPUT).read_bytes()
    except OSError as problem:
        raise Unable(f"{INPUT}: {problem.strerror}") from problem


def _download(params: ArtefactParams, url: str, settings: ArtefactSettings) -> bytes:
    if not allowed(params, settings.origins):
        raise BadParams(f"url: {origin(url) or 'no origin'} isn't one that this provider fetches from")
    try:
        return get(url, limit=params.size, timeout_s=settings.timeout_s)
    except FetchFailed as problem:
        raise Unable(str(problem)) from problem


def intact(content: bytes, params: ArtefactParams) -> bool:
    """Whether this is the content that the buyer named."""
    return hashlib.sha256(content).hexdigest() == params.sha256
