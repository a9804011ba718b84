"""Types of single settings: what each takes, and what it says of anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from oracle import database
from scrip.errors import BadInput
from scrip.structs import to_address


def _url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http or https URL with a host")
    return value.rstrip("/")


def _address(value: str) -> str:
    try:
        return to_address("address", value)
    except BadInput as error:
        raise ValueError(f"must be {error.limit}") from None


def split(value: object) -> object:
    """A list from comma separated text; anything else as it is."""
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def relative(value: Path | None, info: ValidationInfo) -> Path | None:
    """A path relative to the settings file."""
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
        url = url.set(database=str(relative(Path(str(url.database)), info)))
    return SecretStr(url.render_as_string(hide_password=False))


Url = Annotated[str, AfterValidator(_url)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_database)]
Address = Annotated[str, AfterValidator(_address)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(split)]
Texts = Annotated[tuple[str, ...], BeforeValidator(split)]
Integers = Annotated[tuple[int, ...], BeforeValidator(split)]
FilePath = Annotated[Path, AfterValidator(relative)]
MaybePath = Annotated[Path | None, AfterValidator(relative)]
Seconds = Annotated[int, Field(ge=0, le=30 * 86_400)]
Count = Annotated[int, Field(ge=1, le=10_000)]
