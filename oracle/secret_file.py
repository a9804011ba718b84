"""A secret of this node in a file of its own, drawn at the first start: a watcher's draw, the operator's
token.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from scrip.errors import ScripError

SECRET_BYTES: Final = 32


class SecretProblem(ScripError):
    """A file with a secret can't be read or isn't one."""


def load_secret(path: Path) -> bytes:
    """The secret in `path`, as hex there; made if it is missing, readable by its user only. Raises
    SecretProblem.
    """
    try:
        if not path.exists():
            fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(SECRET_BYTES))
            fresh.rename(path)
        found = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise SecretProblem(f"{path}: {error}. It holds a secret of this node; make it readable") from error
    if len(found) != SECRET_BYTES:
        raise SecretProblem(
            f"{path}: {len(found)} bytes, must be {SECRET_BYTES}. Delete it to draw a new one"
        )
    return found
