"""Moving a node's state from one database to another: all of it, once, and never two that are used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from oracle import migrate_state
from oracle.cli import app
from oracle.gateway.book import Book
from oracle.identity import AnotherOwner, claim
from oracle.lead import Lead
from oracle.migrate_state import CantMove, move
from oracle.store import Store
from tests.unit.gateway_factory import Till, used
from tests.unit.test_database import everything, fill
from tests.unit.test_store import JOB, metered

OWNER = {"chain": "31337"}


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path / 'state' / 'oracle.db'}", lambda: 1_000)
    fill(store)
    claim(store, OWNER)
    yield store
    store.close()


@pytest.fixture
def new(database_url: str) -> Iterator[Store]:
    store = Store.open(database_url, lambda: 1_000)
    yield store
    store.close()


def test_move__while_a_node_leads__changes_nothing(old: Store, new: Store, tmp_path: Path) -> None:
    other = Store.open(f"sqlite:///{tmp_path / 'state' / 'oracle.db'}")
    lead = Lead(other, "somebody", 3600)
    assert lead.leads()
    with pytest.raises(CantMove, match="a node leads"):
        move(old, new, "me")
    claim(old, OWNER)
    assert new.find(JOB) is None
    lead.release()
    other.close()


def test_move__into_a_database_with_rows__changes_nothing(old: Store, new: Store) -> None:
    new.set_cursor("JobOpened", 1)
    with pytest.raises(CantMove, match="cursors has rows"):
        move(old, new, "me")
    claim(old, OWNER)


def test_move__into_itself__is_refused(old: Store) -> None:
    with pytest.raises(CantMove, match="same database"):
        move(old, old, "me")


def test_move__fails_half_way__nothing_is_there_and_the_old_one_goes_on(
    old: Store, new: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_table, copied = migrate_state._copy_table, []

    def fail_later(*arguments: Any) -> int:
        if len(copied) == 4:
            raise OSError("No space left on device")
        copied.append(arguments)
        return copy_table(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(migrate_state, "_copy_table", fail_later)
        with pytest.raises(OSError, match="No space"):
            move(old, new, "me")
    claim(old, OWNER)
    assert move(old, new, "me")["jobs"] == 2


def test_move__everything_arrives_and_the_old_one_is_refused(old: Store, new: Store) -> None:
    before = everything(old)
    move(old, new, "me")
    assert everything(new) == before
    claim(new, OWNER)
    with pytest.raises(AnotherOwner, match="was moved to"):
        claim(old, OWNER)
    assert new.add_settlement([metered(new, b"\x07" * 32)], batched=False, watcher_set=0).id == 2


def test_move__killed_before_it_copied__is_run_again(old: Store, new: Store) -> None:
    migrate_state._mark(old, "another")
    with pytest.raises(CantMove, match="moved to another before"):
        move(old, new, "me")
    old.epoch = None
    migrate_state._unmark(old)
    migrate_state._mark(old, migrate_state.shown(new.engine.url))
    assert move(old, new, "me")["transactions"] == 1


def by_command(folder: Path, to: str) -> str:
    """Have the command move the state of the node whose settings are in `folder`. Returns what it says."""
    config = folder / "node.toml"
    config.write_text(
        'role = "watcher"\nstate_dir = "state"\n[chain]\nrpc_url = "http://127.0.0.1:1"\nchain_id = 31337\n'
    )
    done = CliRunner().invoke(app, ["migrate-state", "--config", str(config)], env={"SCRIP_MIGRATE_TO": to})
    assert done.exit_code == 0, done.output
    return done.output


def test_command__moves_and_says_what_to_do(old: Store, database_url: str, tmp_path: Path) -> None:
    before = everything(old)
    old.close()
    assert "Set database.url" in by_command(tmp_path, database_url)
    new = Store.open(database_url)
    assert everything(new) == before
    new.close()


def test_command__charges_that_only_the_log_has__arrive(database_url: str, tmp_path: Path) -> None:
    till = Till(tmp_path / "state")
    session = till.opened()
    till.accounts.charge(till.reserve(session, 50, 5), used(5))
    till.accounts.charge(till.reserve(session, 60, 7), used(7), waits=False)
    till.close()
    by_command(tmp_path, database_url)
    new = Store.open(database_url)
    row = Book(new).session(session)
    assert row is not None
    assert row.charged == 12
    new.close()
