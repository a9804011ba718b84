"""Types of the values in a node's settings: what each may be, and how a variable's text becomes one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
)

from oracle import database
from scrip.errors import BadInput
from scrip.structs import to_address

CLIENT_S: Final = 30
"""Longest that an HTTP client may send nothing of its request, or take nothing of its answer, in seconds."""


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL with a host")
    return value.rstrip("/")


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if value != "*" and (
        parts.scheme not in ("http", "https") or value != f"{parts.scheme}://{parts.netloc}"
    ):
        raise ValueError("must be an origin such as https://app.example.org, without a path, or *")
    return value


def _address(value: str) -> str:
    try:
        return to_address("address", value)
    except BadInput as error:
        raise ValueError(f"must be {error.limit}") from None


def split(value: object) -> object:
    """A comma separated text as a tuple; anything else as it is."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def parsed(value: object) -> object:
    """JSON text, as a variable holds it, as what it says; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be a table or a list of tables, as JSON") from None


def _relative(value: Path | None, info: ValidationInfo) -> Path | None:
    base = (info.context or {}).get("base")
    return base / value if value is not None and base is not None else value


def _database(value: SecretStr, info: ValidationInfo) -> SecretStr:
    if not value.get_secret_value():
        return value
    try:
        url = database.parse(value.get_secret_value())
    except database.DatabaseProblem as error:
        raise ValueError(str(error)) from None
    if url.drivername == "sqlite":
        url = url.set(database=str(_relative(Path(str(url.database)), info)))
    return SecretStr(url.render_as_string(hide_password=False))


Url = Annotated[str, AfterValidator(_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
Address = Annotated[str, AfterValidator(_address)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(split)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(split)]
Texts = Annotated[tuple[str, ...], BeforeValidator(split)]
Integers = Annotated[tuple[int, ...], BeforeValidator(split)]
FilePath = Annotated[Path, AfterValidator(_relative)]
FilePaths = Annotated[tuple[FilePath, ...], BeforeValidator(split)]
MaybePath = Annotated[Path | None, AfterValidator(_relative)]
Seconds = Annotated[int, Field(ge=0, le=30 * 86_400)]
Count = Annotated[int, Field(ge=1, le=10_000)]
SlurmName = Annotated[str, Field(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.,-]{0,127})?$")]


class Section(BaseModel):
    """A table of the file: frozen, without unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)
