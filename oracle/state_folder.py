"""The folder that a node keeps its state in: private, and one process's at a time."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from pathlib import Path
from typing import IO, Final

from scrip.errors import ScripError

LOCK: Final = "lock"


class StateFolderProblem(ScripError):
    """The folder can't be used."""


def open_state(folder: Path) -> IO[str]:
    """Make it private and take it for this process. Raises StateFolderProblem if another node has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        lock = open(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600), "r+")  # noqa: SIM115 (kept open)
    except OSError as error:
        raise StateFolderProblem(f"state_dir {folder}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise StateFolderProblem(
            f"state_dir {folder} is in use by another node. Stop it, or use another folder"
        ) from error
    return lock


def check_apart(database: Path, folder: Path) -> None:
    """Raise StateFolderProblem if a database file is in another node's state folder: what that node was doing
    is partly beside it, where no other node looks.
    """
    there = database.resolve().parent
    if there != folder.resolve() and (there / LOCK).exists():
        raise StateFolderProblem(
            f"database.url: {database} is in the state folder of another node, which alone may use it. "
            "Nodes share a database in a folder that is neither's"
        )


def node_name(folder: Path) -> str:
    """Name of the node of this state folder on this host, the same for good."""
    file = folder / "node"
    if not file.exists():
        file.write_text(secrets.token_hex(4) + "\n", "utf-8")
    return f"{socket.gethostname()[:64]}/{file.read_text('utf-8').strip()[:32]}"
