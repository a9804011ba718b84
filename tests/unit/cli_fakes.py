"""The command line on a chain in memory: only what its commands read."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from eth_account import Account
from typer.testing import CliRunner

from scrip import keys
from scrip.cli.context import Context
from scrip.cli.main import app
from scrip.errors import ChainError, NotFound, ScripError
from scrip.jobs import ENDINGS
from scrip.logs import LogEvent
from scrip.provider_client import Offer
from scrip.structs import camel
from scrip.types import ClassInfo, JobState, JobTerms, ProviderInfo, Status
from tests.unit.evidence_factory import CHAIN_ID, MARKET, NOW, make_class, make_terms

KEY = "0x" + "4c" * 32
HOLDER = str(Account.from_key(KEY).address)
PASSWORD = "open sesame"  # noqa: S105
TX = b"\xab" * 32
PROVIDER = make_terms().provider
DETAILS = {
    "llm.generate": {
        "name": "llm.generate",
        "title": "An answer",
        "seconds": 180,
        "params": {
            "required": ["question"],
            "properties": {
                "question": {"type": "string", "maxLength": 2000},
                "max_tokens": {"type": "integer", "minimum": 1, "maximum": 512, "default": 64},
            },
        },
    }
}
OFFER = Offer("Acme", "http://127.0.0.1:1", tuple(DETAILS), False, DETAILS)


def provider_info(address: str = PROVIDER, stake: int = 5_000_000) -> ProviderInfo:
    return ProviderInfo(address, address, b"eu".ljust(12, b"\0"), "http://127.0.0.1:1/r.json", stake, 0, 0)


@dataclass
class FakeView:
    """State at block 7. `units` and `in_jobs` are by class, `tokens` by payment token: symbol, decimals and
    balance. Jobs in `ended` have no slot any more.
    """

    infos: dict[int, ClassInfo] = field(default_factory=dict)
    units: dict[int, int] = field(default_factory=dict)
    in_jobs: dict[int, int] = field(default_factory=dict)
    tokens: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    registered: list[ProviderInfo] = field(default_factory=list)
    jobs: dict[bytes, tuple[JobTerms, JobState]] = field(default_factory=dict)
    ended: dict[bytes, Status] = field(default_factory=dict)
    serving: bool = True
    fee: int = 0
    uri: str = ""
    block: int = 7

    def time(self) -> int:
        return NOW

    def class_ids(self) -> list[int]:
        return sorted(self.infos)

    def class_info(self, class_id: int) -> ClassInfo:
        if class_id not in self.infos:
            raise NotFound("class", class_id, "See: scrip class list")
        return self.infos[class_id]

    def balance(self, holder: str, class_id: int) -> int:
        return self.units.get(class_id, 0) if holder == HOLDER else 0

    def locked(self, holder: str, class_id: int) -> int:
        return self.in_jobs.get(class_id, 0) if holder == HOLDER else 0

    def available(self, holder: str, class_id: int) -> int:
        return self.balance(holder, class_id) - self.locked(holder, class_id)

    def fee_bps(self) -> int:
        return self.fee

    @property
    def chain(self) -> Any:
        return SimpleNamespace(block_time=lambda block: NOW - 10)

    def cost(self, class_id: int, units: int) -> int:
        return units

    def token_symbol(self, token: str) -> str:
        return self._token(token)[0]

    def token_decimals(self, token: str) -> int:
        return self._token(token)[1]

    def token_balance(self, token: str, holder: str) -> int:
        return self._token(token)[2]

    def _token(self, token: str) -> tuple[str, int, int]:
        if token not in self.tokens:
            raise ChainError("symbol returns no value")
        return self.tokens[token]

    def earnings(self, account: str, token: str) -> int:
        return 250_000

    def provider(self, address: str) -> ProviderInfo:
        for one in self.registered:
            if one.address == address:
                return one
        raise NotFound("provider", address, "See: scrip provider list")

    def providers(self) -> tuple[ProviderInfo, ...]:
        return tuple(self.registered)

    def can_serve(self, provider: str, class_id: int) -> bool:
        return self.serving

    def job_state(self, job: bytes) -> JobState:
        return JobState(Status.NONE, 0, 0) if job in self.ended else self.jobs[job][1]

    def read(self, contract: str, function: str, *args: object) -> Any:
        return {"uri": self.uri, "STAKE_TOKEN": MARKET}[function]

    def events(
        self, contract: str, event: str | list[str], *, since: int | None = None, **filters: Any
    ) -> Iterator[LogEvent]:
        if event != "JobOpened":
            assert set(event) == set(ENDINGS)
            yield from self._endings(filters["jobId"])
            return
        for job, (terms, slot) in self.jobs.items():
            names = ("payer", "provider", "class_id", "max_units", "resources", "accept_by", "submit_by",
                     "spec_hash", "budget_id", "salt")  # fmt: skip
            args = {camel(name): getattr(terms, name) for name in names} | {"jobId": job, "nonce": slot.nonce}
            if all(args[name] == value for name, value in filters.items()):
                yield LogEvent("JobOpened", args, MARKET, 3, bytes(32), TX, 0)

    def _endings(self, jobs: list[bytes]) -> Iterator[LogEvent]:
        names = {status: name for name, status in ENDINGS.items()}
        for job, status in self.ended.items():
            if job in jobs:
                yield LogEvent(names[status], {"jobId": job}, MARKET, 5, bytes(32), TX, 0)


def class_info(
    class_id: int = 1, *, supply: int = 0, backing: int = 0, closed: bool = False, **terms: Any
) -> Any:
    return ClassInfo(class_id, make_class(**terms), supply, backing, closed, closed)


def metadata(data: object) -> str:
    return "data:application/json;base64," + b64encode(json.dumps(data).encode()).decode()


class Cli:
    """Runs commands on a view. `run` gives the result, `json` its parsed standard output."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, view: FakeView | None = None) -> None:
        self.view = view or FakeView()
        self.folder, self.monkeypatch = folder, monkeypatch
        chain = SimpleNamespace(
            chain_id=CHAIN_ID,
            at=lambda block=None: self.view,
            balance=lambda who, block: 3 * 10**17,
            address=lambda name: MARKET,
        )
        self.chain: Any = chain
        monkeypatch.setattr(Context, "chain", lambda context: chain)
        for name in ("RPC", "DEPLOYMENT", "KEYSTORE", "PASSWORD", "PASSWORD_FILE", "STATE", "DEBUG"):
            monkeypatch.delenv(f"SCRIP_{name}", raising=False)
        monkeypatch.setenv("SCRIP_STATE", str(folder / "state"))

    def with_key(self) -> Cli:
        """From now on there is a keystore, and its password in the environment."""
        path = self.folder / "key.json"
        keys.import_key(path, KEY, PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
        self.monkeypatch.setenv("SCRIP_KEYSTORE", str(path))
        self.monkeypatch.setenv("SCRIP_PASSWORD", PASSWORD)
        return self

    def answers(self, offer: Offer | ScripError) -> Cli:
        """From now on every provider says `offer`, or can't be reached."""

        def discover(provider: ProviderInfo) -> Offer:
            if isinstance(offer, ScripError):
                raise offer
            return offer

        self.monkeypatch.setattr("scrip.provider_client.discover", discover)
        return self

    def run(self, *args: str, answer: str | None = None) -> Any:
        return CliRunner().invoke(app, list(args), input=answer)

    def json(self, *args: str) -> Any:
        result = self.run(*args, "--json")
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return json.loads(result.stdout)

    def fails(self, *args: str, status: int = 1) -> str:
        """The one line on stderr of a command that must fail with nothing on stdout."""
        result = self.run(*args)
        assert (result.exit_code, result.stdout) == (status, ""), result.output
        lines = result.stderr.splitlines()
        assert len(lines) == 1, lines
        assert "Traceback" not in result.stderr
        return str(lines[0])


def state(status: Status, opened_at: int = NOW - 10) -> JobState:
    return JobState(status, opened_at, 5)


def flattened(data: Mapping[str, Any]) -> str:
    return json.dumps(data)
