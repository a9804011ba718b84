"""Whose database it is: what all nodes that share it must agree on, or they would undo each other's work."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from oracle.models import IdentityRow
from oracle.store import Store
from scrip.errors import ScripError

MARK: Final = "folder-id"
EVIDENCE: Final = "evidence"
MOVED: Final = "moved"


class AnotherOwner(ScripError):
    """The database belongs to another node, or its evidence is elsewhere."""


def claim(store: Store, wanted: Mapping[str, str]) -> None:
    """Make the database ours, or find that it is. Raises AnotherOwner."""
    with store.writing(led=False) as session:
        moved = session.get(IdentityRow, MOVED)
        if moved is not None:
            raise AnotherOwner(
                f"the state in this database was moved to {moved.value}: set database.url to that"
            )
        for name, value in wanted.items():
            row = session.get(IdentityRow, name)
            if row is None:
                session.add(IdentityRow(name=name, value=value))
            elif row.value != value:
                raise AnotherOwner(
                    f"the database belongs to {name} {row.value}, this node has {value}. "
                    "Use another database.url"
                )


def claim_evidence(store: Store, folder: Path) -> None:
    """See that `folder` holds the evidence of the jobs in the database, by a mark in both.

    Raises AnotherOwner.

    A node that takes over signs receipts for work that another one did: it must have the evidence to show.
    """
    mark = folder / MARK
    found = mark.read_text("utf-8").strip() if mark.exists() else ""
    with store.writing(led=False) as session:
        row = session.get(IdentityRow, EVIDENCE)
        if row is None:
            row = IdentityRow(name=EVIDENCE, value=found or secrets.token_hex(8))
            session.add(row)
            if not found:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                mark.write_text(row.value + "\n", "utf-8")
        elif row.value != found:
            raise AnotherOwner(
                f"evidence_dir {folder} doesn't hold the evidence of this database's jobs: its {MARK} is "
                f"{found or 'missing'}, not {row.value}. Share that folder, or copy it here; if the "
                f"evidence is lost, write {row.value} into {mark} to go on without it"
            )
