"""Profiles: where a chain's node, deployment, key and state are, by name, in one TOML file of the user's.

    current = "sepolia"

    [profiles.sepolia]
    rpc = "https://sepolia.example/v3/${RPC_KEY}"
    keystore = "/home/me/.scrip/key.json"

It never holds a secret: what an RPC URL needs of one is read from the environment, as `${NAME}`.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import typer

from scrip.errors import BadInput, NotFound

KEYS: Final = ("rpc", "deployment", "keystore", "state")
FILE: Final = "profiles.toml"

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}\Z")
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET: Final = re.compile(r"(?=[A-Za-z0-9_-]*[0-9])[A-Za-z0-9_-]{20,}")
"""What keys of hosted nodes look like: long, and with digits."""


@dataclass(frozen=True, slots=True)
class Profiles:
    """All profiles of a user; `current` is the one in use, "" for none."""

    current: str = ""
    profiles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Self:
        """What the user's file holds; nothing if there is none. Raises BadInput."""
        path = place()
        try:
            data = tomllib.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise BadInput(f"profiles {path}", str(error), "a TOML file that can be read") from None
        return cls._checked(path, data)

    @classmethod
    def _checked(cls, path: Path, data: Mapping[str, Any]) -> Self:
        odd = sorted(set(data) - {"current", "profiles"})
        tables, current = data.get("profiles", {}), data.get("current", "")
        if odd or not isinstance(tables, dict) or not isinstance(current, str):
            raise BadInput(f"profiles {path}", odd, "current = NAME and tables [profiles.NAME]")
        for name, table in tables.items():
            _check_name(name)
            check(name, table)
        if current and current not in tables:
            raise BadInput(f"profiles {path}: current", current, f"one of {sorted(tables)}")
        return cls(current, tables)

    def get(self, name: str) -> Mapping[str, str]:
        """A profile, as it is written. Raises NotFound."""
        if name not in self.profiles:
            raise NotFound("profile", name, "See: scrip profile list")
        return self.profiles[name]

    def with_profile(self, name: str, table: Mapping[str, str]) -> Self:
        """With one more profile, or another in place of one. The first is in use at once. Raises BadInput."""
        _check_name(name)
        check(name, table)
        return replace(self, current=self.current or name, profiles={**self.profiles, name: dict(table)})

    def using(self, name: str) -> Self:
        """With `name` in use. Raises NotFound."""
        self.get(name)
        return replace(self, current=name)

    def without(self, name: str) -> Self:
        """Without a profile; none is in use if it was. Raises NotFound."""
        self.get(name)
        left = {other: table for other, table in self.profiles.items() if other != name}
        return replace(self, current="" if self.current == name else self.current, profiles=left)

    def save(self) -> Path:
        """Write the user's file; readers see the old one or the new one, whole. Raises BadInput."""
        path = place()
        lines = [f"current = {_quoted(self.current)}"] if self.current else []
        for name, table in sorted(self.profiles.items()):
            lines += ["", f"[profiles.{name}]"]
            lines += [f"{key} = {_quoted(table[key])}" for key in KEYS if key in table]
        draft = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_text("\n".join(lines) + "\n", "utf-8")
            draft.chmod(0o600)
            draft.replace(path)
        except OSError as error:
            raise BadInput(f"profiles {path}", str(error.strerror), "a file that can be written") from None
        return path


def place() -> Path:
    """The user's file, in the folder where the platform keeps a program's settings."""
    return Path(typer.get_app_dir("scrip")) / FILE


def chosen(name: str | None) -> Mapping[str, str]:
    """The values of profile `name`, or of the one in use; variables are filled in.

    Raises NotFound, BadInput.
    """
    known = Profiles.load()
    wanted = name or known.current
    if not wanted:
        return {}
    return {key: _filled(wanted, key, value) for key, value in known.get(wanted).items()}


def check(name: str, table: object) -> None:
    """Raise BadInput unless a profile has known keys only, each a text, and no secret in its URL."""
    if not isinstance(table, Mapping) or not all(isinstance(value, str) for value in table.values()):
        raise BadInput(f"profile {name}", table, "a table of texts")
    odd = sorted(set(table) - set(KEYS))
    if odd:
        raise BadInput(f"profile {name}: key", odd[0], f"one of {', '.join(KEYS)}")
    if "rpc" in table:
        _check_url(name, table["rpc"])


def _check_url(name: str, url: str) -> None:
    """The URL isn't repeated in an error: it may hold what it shouldn't."""
    try:
        parts = urlsplit(url)
        login = parts.username or parts.password
    except ValueError:
        raise BadInput(f"profile {name}: rpc", "not a URL", "an http or https URL") from None
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadInput(f"profile {name}: rpc", parts.scheme, "an http or https URL")
    said = _VARIABLE.sub("", f"{parts.path}?{parts.query}")
    if (login and not _VARIABLE.search(str(login))) or _SECRET.search(said):
        raise BadInput(
            f"profile {name}: rpc", f"a URL of {parts.hostname} with a key in it", "without secrets",
            "Put the key in a variable and write ${NAME} in its place",
        )  # fmt: skip


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        raise BadInput("profile", name, "at most 32 lower-case letters, digits and dashes")


def _filled(name: str, key: str, value: str) -> str:
    if key != "rpc":
        return value

    def variable(found: re.Match[str]) -> str:
        content = os.environ.get(found.group(1))
        if not content:
            raise BadInput(f"profile {name}: variable", found.group(1), "set in the environment")
        return content

    return _VARIABLE.sub(variable, value)


def _quoted(text: str) -> str:
    """A TOML basic string: JSON's escapes are among TOML's (https://toml.io/en/v1.0.0#string)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
