"""Both databases: what is refused, what is durable, that no password shows, every older version's data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, insert, inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from oracle.database import DatabaseProblem, engine_of, parse, probe, shown
from oracle.journal import SqlJournal
from oracle.migrations import config
from oracle.models import CursorRow
from oracle.moves import LeadLost
from oracle.reviews import Reviewed, Reviews, Verdict
from oracle.settings import Settings, SettingsProblem
from oracle.states import Stage, State
from oracle.store import NOBODY, Store
from oracle.tables import TABLES
from oracle.tasks import is_passing
from scrip.spec import JobSpec, spec_hash
from scrip.types import Attestation
from tests.databases import PASSWORD, Postgres
from tests.unit.evidence_factory import make_bundle, make_terms
from tests.unit.test_store import JOB, OTHER, SENDER, metered, record

SPEC = JobSpec("hash.chain", {"steps": 3})
REVISIONS = [item.revision for item in ScriptDirectory(str(Path("oracle/migrations"))).walk_revisions()][::-1]


# What is refused


@pytest.mark.parametrize(
    "url",
    [
        "mysql://root:hunter2@db/x",
        "postgresql+psycopg2://a:hunter2@db/x",
        "postgresql://a:hunter2@db",
        "postgres://a:hunter2@db/x",
        "sqlite://",
        "sqlite:///:memory:",
        "hunter2",
        "postgresql://a:hunter2@db:port/x",
    ],
)
def test_parse__what_we_do_not_run_on__is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseProblem, match="must") as refused:
        parse(url)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(SettingsProblem) as also:
        settings(Path("state"), url)
    assert "hunter2" not in str(also.value)
    assert "database.url" in str(also.value)


def settings(folder: Path, url: str) -> Settings:
    path = folder / "node.toml"
    if not folder.exists():
        env = {"SCRIP_DATABASE_URL": url, "SCRIP_ROLE": "watcher", "SCRIP_STATE_DIR": "s"}
        env |= {"SCRIP_CHAIN_RPC_URL": "http://127.0.0.1:1", "SCRIP_CHAIN_CHAIN_ID": "31337"}
        return Settings.load(None, env)
    path.write_text(
        f'role = "watcher"\nstate_dir = "state"\n[chain]\nrpc_url = "http://127.0.0.1:1"\nchain_id = 31337\n'
        f'[database]\nurl = "{url}"\n'
    )
    return Settings.load(path, {})


def test_settings__password__is_in_the_url_and_in_no_text(tmp_path: Path) -> None:
    made = settings(tmp_path, "postgresql://scrip:hunter2@db.test/scrip")
    assert made.database_url == "postgresql+psycopg://scrip:hunter2@db.test/scrip"
    assert "hunter2" not in f"{made} {made!r} {made.model_dump()} {made.model_dump_json()}"
    assert (
        shown(parse(made.database_url + "?password=hunter2"))
        == "postgresql+psycopg://scrip:***@db.test/scrip"
    )


def test_settings__sqlite_file__is_relative_to_the_settings(tmp_path: Path) -> None:
    assert settings(tmp_path, "sqlite:///db/x.db").database_url == f"sqlite:///{tmp_path / 'db' / 'x.db'}"
    assert settings(tmp_path, "sqlite:////srv/x.db").database_url == "sqlite:////srv/x.db"


def test_open__wrong_password__says_why_and_not_what(postgres: Postgres) -> None:
    with postgres.database() as url, pytest.raises(DatabaseProblem, match="authentication failed") as refused:
        Store.open(url.replace(PASSWORD, "hunter2"))
    assert "hunter2" not in str(refused.value)


def test_open__no_server__says_so(tmp_path: Path) -> None:
    with pytest.raises(DatabaseProblem, match="No such file or directory"):
        Store.open(f"postgresql://scrip:hunter2@/x?host={tmp_path}")


def test_probe__tells_what_is_there_and_changes_nothing(postgres: Postgres, tmp_path: Path) -> None:
    file = tmp_path / "oracle.db"
    assert probe(f"sqlite:///{file}") == f"{file} will be made"
    assert not file.exists()
    with postgres.database("template1") as url:
        assert probe(url).startswith("postgresql 1")
        assert PASSWORD not in probe(url)
        engine = engine_of(url)
        assert inspect(engine).get_table_names() == []
        engine.dispose()
        with pytest.raises(DatabaseProblem, match="authentication failed"):
            probe(url.replace(PASSWORD, "hunter2"))


def test_open__not_a_database__says_so_and_leaves_it(tmp_path: Path) -> None:
    file = tmp_path / "oracle.db"
    file.write_bytes(b"something else, long enough to be looked at as a database header, and some more")
    before = file.read_bytes()
    with pytest.raises(DatabaseProblem, match="not a database"):
        Store.open(f"sqlite:///{file}")
    assert file.read_bytes() == before


def test_open__other_encoding__is_refused(postgres: Postgres) -> None:
    postgres.run("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1'")
    with pytest.raises(DatabaseProblem, match="encoding is LATIN1, must be UTF8"):
        Store.open(postgres.url("latin"))


def test_open__used_by_a_newer_version__is_refused(database_url: str) -> None:
    store = Store.open(database_url)
    with store.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store.close()
    with pytest.raises(DatabaseProblem, match="newer version"):
        Store.open(database_url)


def test_open__by_many_at_once__makes_the_tables_once(bare_url: str) -> None:
    code = "import sys; from oracle.store import Store; Store.open(sys.argv[1]).close()"
    command_line = [sys.executable, "-c", code, bare_url]
    processes = [subprocess.Popen(command_line, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(one.communicate(timeout=60)[1], one.returncode) for one in processes] == [("", 0)] * 3
    store = Store.open(bare_url)
    assert store.count(list(State)) == 0
    store.close()


# How it is kept


def test_sqlite__is_durable_and_readers_do_not_block_writers(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    with store.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 15_000
    store.add_job(JOB, make_terms(), State.OPEN)
    with store.reading() as reading:
        assert reading.connection().exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 1
        store.add_job(OTHER, make_terms(salt=9), State.OPEN)
        assert reading.connection().exec_driver_sql("SELECT count(*) FROM jobs").scalar() == 1
    store.check_writable()
    store.close()


def test_postgres__is_durable_and_waits_for_nobody_for_ever(postgres: Postgres) -> None:
    with postgres.database() as url:
        postgres.run(f"ALTER DATABASE {parse(url).database} SET synchronous_commit = off")
        store = Store.open(url)
        with store.engine.connect() as connection:
            found = {
                name: connection.exec_driver_sql(f"SHOW {name}").scalar()
                for name in ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout")
            }
        assert found == {
            "synchronous_commit": "on", "lock_timeout": "15s", "idle_in_transaction_session_timeout": "5s"
        }  # fmt: skip
        store.close()


def test_postgres__writer_that_stands_still__is_cut_off(postgres: Postgres) -> None:
    with postgres.database() as url:
        still, other = Store.open(url), Store.open(url)
        still.add_job(JOB, make_terms(), State.QUEUED)
        with pytest.raises(DBAPIError) as cut, still.writing() as session:  # noqa: PT012 (raised by the commit)
            session.execute(text("UPDATE jobs SET state = 'executing'"))
            other.move(JOB, State.CANCELLING)  # waits until the server has ended the other's transaction
        assert is_passing(cut.value)
        assert other.job(JOB).at is State.CANCELLING
        still.close()
        other.close()


def test_postgres__connection_lost__is_a_passing_failure(postgres: Postgres) -> None:
    with postgres.database() as url:
        store = Store.open(url)
        name = parse(url).database
        with pytest.raises(DBAPIError) as lost, store.writing() as session:  # noqa: PT012
            postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
            session.execute(text("SELECT 1"))
        assert is_passing(lost.value)
        store.add_job(JOB, make_terms(), State.OPEN)
        assert store.job(JOB).at is State.OPEN
        store.close()


def test_driver__statement_that_fails__changes_nothing_and_is_typed(database_url: str) -> None:
    store = Store.open(database_url)
    add = store.driver.prepare(insert(CursorRow.__table__))  # type: ignore[arg-type]
    with pytest.raises(IntegrityError) as twice, store.driver.writing(None) as transaction:
        transaction.run(add, [{"name": name, "block": 1} for name in ("a", "b", "a")])
    assert not is_passing(twice.value)
    assert (store.cursor("a"), store.cursor("b")) == (None, None)
    with store.driver.writing(None) as transaction:
        transaction.run(add, [{"name": "a", "block": 1}])
    assert store.cursor("a") == 1
    store.close()


def test_driver__another_node_leads__changes_nothing(database_url: str) -> None:
    store = Store.open(database_url)
    add = store.driver.prepare(insert(CursorRow.__table__))  # type: ignore[arg-type]
    with pytest.raises(LeadLost), store.driver.writing(NOBODY) as transaction:
        transaction.run(add, [{"name": "a", "block": 1}])
    assert store.cursor("a") is None
    store.close()


def test_postgres__driver_loses_its_connection__is_a_passing_failure(postgres: Postgres) -> None:
    with postgres.database() as url:
        store = Store.open(url)
        name = parse(url).database
        add = store.driver.prepare(insert(CursorRow.__table__))  # type: ignore[arg-type]
        with pytest.raises(DBAPIError) as lost, store.driver.writing(None) as transaction:  # noqa: PT012
            postgres.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
            transaction.run(add, [{"name": "a", "block": 1}])
        assert is_passing(lost.value)
        assert store.cursor("a") is None
        store.close()


def test_text_of_others__nul_and_half_characters__are_replaced(database_url: str) -> None:
    store = Store.open(database_url)
    store.add_job(JOB, make_terms(), State.OPEN, "a\0b\ud800c")
    store.add_refusal(JOB, "http://w\0", "che\0ck", "r\0")
    assert store.job(JOB).reason == "a\ufffdb?c"
    [refusal] = store.refusals(JOB)
    assert (refusal.watcher, refusal.check, refusal.reason) == ("http://w\ufffd", "che\ufffdck", "r\ufffd")
    store.close()


# Versions of the tables


def test_migrations__build_what_the_models_say(bare_url: str) -> None:
    store = Store.open(bare_url)
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, TABLES) == []
    store.close()


def test_migrations__down_and_up_again__leave_the_same_tables(bare_url: str) -> None:
    store = Store.open(bare_url)
    before = set(inspect(store.engine).get_table_names())
    command.downgrade(config(store.engine), "base")
    assert set(inspect(store.engine).get_table_names()) == {"alembic_version"}
    command.upgrade(config(store.engine), "head")
    assert set(inspect(store.engine).get_table_names()) == before
    store.close()


@pytest.mark.parametrize("revision", REVISIONS)
def test_migrations__from_an_older_version_with_data__keep_it_all(
    bare_url: str, revision: str, tmp_path: Path
) -> None:
    full = Store.open(f"sqlite:///{tmp_path / 'full.db'}", lambda: 1_000)
    fill(full)
    old = engine_of(bare_url)
    command.upgrade(config(old), revision)
    copied = copy_rows(full.engine, old)
    assert {"jobs", "steps", "settlements", "transactions", "specs", "reviews", "commitments"} <= copied
    old.dispose()
    store = Store.open(bare_url, lambda: 1_000)
    assert everything(store) == everything(full)
    assert store.add_settlement([metered(store, b"\x07" * 32)], batched=False, watcher_set=0).id == 2
    full.close()
    store.close()


def fill(store: Store) -> None:
    """A row of everything."""
    row = store.add_settlement([metered(store)], batched=True, watcher_set=3)
    store.advance(row, Stage.SIGNED, State.SIGNED, attestation=Attestation(b"\x01" * 65, ()))
    store.add_job(OTHER, make_terms(salt=9), State.QUOTED, nonce=1 << 96, opened_at=7)
    store.put_spec(SPEC, 10)
    store.set_cursor("JobOpened", 77)
    store.add_refusal(JOB, "http://w", "output.hash", "differs")
    SqlJournal(store).record(record())
    reviews = Reviews(store)
    verdict = Verdict(JOB, False, "output.hash", "differs")
    reviews.keep(SENDER, Reviewed(b"\xaa" * 32, b"\xee" * 32, verdict), bind=True)


def everything(store: Store) -> dict[str, Any]:
    """What a node reads."""
    job, reviews = store.job(JOB), Reviews(store)
    return {
        "job": (job.terms, job.state, job.receipt, job.settlement_id, job.created_ms),
        "other": (store.job(OTHER).nonce, store.job(OTHER).opened_at),
        "steps": [(step.state, step.at_ms) for step in store.steps(JOB)],
        "settlement": [(row.id, row.jobs, row.attestation, row.watcher_set) for row in store.settlements()],
        "spec": store.spec(spec_hash(SPEC)),
        "cursor": store.cursor("JobOpened"),
        "refusals": [row.reason for row in store.refusals(JOB)],
        "journal": SqlJournal(store).open_records(31337, SENDER),
        "review": reviews.find(b"\xaa" * 32, b"\xee" * 32),
        "bound": reviews.bound(JOB),
    }


def copy_rows(source: Engine, target: Engine) -> set[str]:
    """Put the rows into an older version's tables, without columns it doesn't have. Returns the tables."""
    newer, older = MetaData(), MetaData()
    newer.reflect(source)
    older.reflect(target)
    copied = set()
    with source.connect() as read, target.execution_options(scrip_write=True).begin() as write:
        for table in older.sorted_tables:
            if table.name in ("alembic_version", "lead"):
                continue
            for row in read.execute(newer.tables[table.name].select()).mappings():
                # Numbers of rows are the database's own to give.
                values = {name: row[name] for name in row if name in table.columns and name != "id"}
                write.execute(table.insert().values(values))
                copied.add(table.name)
    return copied


def test_receipts__big_numbers_and_bytes__come_back_exactly(database_url: str) -> None:
    store = Store.open(database_url)
    metered(store)
    assert store.job(JOB).receipt == make_bundle().receipt
    big = record(value=(1 << 256) - 1, max_fee=(1 << 128) - 1, raw=bytes(range(256)))
    SqlJournal(store).record(big)
    assert SqlJournal(store).open_records(31337, SENDER) == [big]
    store.close()
