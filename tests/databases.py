"""Databases for tests: SQLite in a file, and a real PostgreSQL that the tests start for themselves.

The server has no TCP port: its socket lies in a folder of its own, so nothing has to be free. It asks for a
password, as a real one does. PostgreSQL refuses to run as root; under root it runs as `nobody`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

USER, PASSWORD = "scrip", "correct-horse"
START_SECONDS = 60.0
TEMPLATE = "scrip_template"

BACKENDS = ("sqlite", "postgresql")


@dataclass
class Postgres:
    """A running server. Its databases are made from one whose tables are there already."""

    folder: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str, password: str = PASSWORD) -> str:
        """URL of a database."""
        return f"postgresql://{USER}:{password}@/{database}?host={self.folder}"

    @contextlib.contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[str]:
        """URL of a new database, which is dropped in the end."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def run(self, statement: str, database: str = "postgres") -> Sequence[Any]:
        """One statement, outside a transaction. Returns its rows, if it has any."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else ()


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Make and start a server. Skips the test where PostgreSQL isn't installed."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/postgres"), default=None)
    if programs is None:
        pytest.skip("postgresql isn't installed")
    with contextlib.ExitStack() as cleanup:
        folder = Path(tempfile.mkdtemp(prefix="scrip-pg-"))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        password, data = folder / "password", folder / "data"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            for path in (folder, password):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        log = cleanup.enter_context((folder / "log").open("w+b"))
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
        initdb = (programs.parent / "initdb", "-D", data, "-U", USER, "--pwfile", password, *options)
        subprocess.run(_as_nobody(initdb), check=True, stdout=log, stderr=log, cwd=folder)
        quiet = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off")
        server = subprocess.Popen(
            _as_nobody((programs, "-D", data, *quiet)), stdout=log, stderr=log, cwd=folder
        )
        cleanup.callback(_stop, server)
        made = Postgres(folder)
        _wait_for(made, server, log)
        made.run(f"CREATE DATABASE {TEMPLATE}")
        _fill(made.url(TEMPLATE))
        yield made


def _as_nobody(command: Sequence[str | Path]) -> list[str]:
    """The command, ending with this process, and without root's rights."""
    user = ("--reuid=nobody", "--regid=nogroup", "--clear-groups") if os.geteuid() == 0 else ()
    return ["setpriv", "--pdeathsig=QUIT", *user, "--", *map(str, command)]


def _wait_for(server: Postgres, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            server.run("SELECT 1")
            return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise RuntimeError(f"PostgreSQL didn't start: {error}\n{log.read().decode()}") from error
            time.sleep(0.05)


def _fill(url: str) -> None:
    from oracle.store import Store

    Store.open(url).close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
    process.wait()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The server of this test run."""
    with running_postgres() as made:
        yield made


@pytest.fixture(params=BACKENDS)
def bare_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'bare.db'}"
        return
    with request.getfixturevalue("postgres").database("template1") as url:
        yield url


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sub' / 'oracle.db'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url
