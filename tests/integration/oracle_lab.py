"""A provider and watchers in this process, on real contracts: real executor, meters, HTTP and
transactions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from demo.anvil import NO_TLS
from demo.processes import free_ports
from oracle.catalogue import DEFAULT_FILE
from oracle.daemon import Daemon, build
from oracle.settings import Settings
from scrip import jobs, keys
from scrip.chain import Chain
from scrip.eip712 import job_id
from scrip.journal import InMemoryJournal
from scrip.sender import LOCAL_POLICY, Sender
from scrip.signed_requests import SignedBy
from scrip.spec import JobSpec, spec_hash
from scrip.structs import to_bytes
from scrip.types import JobTerms, Status
from tests.integration.system import REGION, System, account

SPEC = JobSpec("hash.chain", {"seed": "0x" + "ab" * 32, "steps": 20_000})
PASSWORD = "password of a test"  # noqa: S105
USD = 1_000_000
SECONDS = 180.0

OFTEN = {"requests_per_minute": 1_000_000, "heavy_per_minute": 1_000_000}
"""Tests poll more often than clients may."""


@dataclass
class Running:
    """A daemon in a thread."""

    daemon: Daemon
    thread: threading.Thread
    failure: list[BaseException]

    def stop(self) -> None:
        self.daemon.stop()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()


@dataclass
class OracleLab:
    """One provider, any number of watchers, one buyer with credits of each class."""

    system: System
    folder: Path
    chain: Chain
    provider: str = ""
    port: int = 0
    watcher_ports: tuple[int, ...] = ()
    running: dict[str, Running] = field(default_factory=dict)
    salt: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def watcher_urls(self) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{port}" for port in self.watcher_ports)

    # Setting up

    def prepare(self, watchers: int, threshold: int | None = None) -> None:
        """Keys, registration and watcher set, all of whom must sign unless `threshold` says fewer."""
        system = self.system
        names = ["oracle", *(f"watcher {number}" for number in range(watchers))]
        for name in names:
            self.funded_keystore(name)
        self.provider = system.funded("provider").address
        self.port, *others = free_ports(1 + watchers)
        self.watcher_ports = tuple(others)
        system.register(self.provider, account("oracle").address)
        uri = f"{self.url}/.well-known/agent-registration.json"
        system.send(
            "ProviderRegistry", "update", account("oracle").address, REGION, uri, sender=self.provider
        )
        self.serve("test-cpu")
        if watchers:
            assert system.watcher_set(names[1:], threshold or watchers) == 1

    def serve(self, label: str) -> None:
        """Add a SKU to the provider's."""
        from scrip.types import sku_id

        self.system.send("ProviderRegistry", "setSkus", [sku_id(label)], True, sender=self.provider)

    def funded_keystore(self, name: str) -> Path:
        made = self.system.funded(name)
        path = self.folder / f"{name}.json"
        if not path.exists():
            keys.import_key(path, made.key, PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
        return path

    def buy(self, class_id: int, units: int) -> Sender:
        """The buyer's sender, with `units` of the class in its account."""
        buyer = self.system.funded("buyer")
        sender = Sender(self.chain, buyer, InMemoryJournal(), LOCAL_POLICY)
        self.system.mint(buyer.address, 1000 * USD)
        reserve = self.chain.contract("CreditReserve")
        approve = self.chain.contract("DemoUSD").functions.approve(reserve.address, 1000 * USD)
        sender.send(approve, label="approve")
        sender.send(reserve.functions.buy(class_id, units, buyer.address, 1000 * USD), label="buy")
        return sender

    # Nodes

    def settings(self, role: str, **sections: Any) -> Settings:
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "deployments").mkdir(exist_ok=True)
        from scrip import deployments

        deployments.save(self.system.deployment, self.folder / "deployments")
        data: dict[str, Any] = {
            "role": role,
            "poll_ms": 200,
            "reconcile_s": 1,
            "log_level": "DEBUG",
            "chain": {
                "rpc_url": self.system.anvil.url,
                "chain_id": self.system.anvil.chain_id,
                "deployment": self.folder / "deployments",
            },
        }
        return Settings.model_validate(data | sections)

    def provider_settings(self, **sections: Any) -> Settings:
        offer = {"address": self.provider, "cpu_sku": "test-cpu", "submit_margin_s": 5, "slots": 2}
        given = {
            "state_dir": self.folder / "provider",
            "key": {"keystore": self.folder / "oracle.json", "password_file": self.folder / "password"},
            "api": {"port": self.port, "public_url": self.url} | OFTEN,
            "quorum": {"watchers": self.watcher_urls, "timeout_s": 30},
            "settle": {"retry_s": 1, "max_age_s": 1},
            **sections,
            "provider": offer | sections.get("provider", {}),
        }
        return self.settings("provider", **given)

    def watcher_settings(self, number: int) -> Settings:
        port = self.watcher_ports[number]
        return self.settings(
            "watcher",
            state_dir=self.folder / f"watcher-{number}",
            key={
                "keystore": self.folder / f"watcher {number}.json",
                "password_file": self.folder / "password",
            },
            api={"port": port, "public_url": f"http://127.0.0.1:{port}"} | OFTEN,
        )

    def start(self, name: str, settings: Settings) -> Running:
        daemon, failure = build(settings), []

        def work() -> None:
            try:
                daemon.run()
            except BaseException as error:
                failure.append(error)

        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        made = Running(daemon, thread, failure)
        self.running[name] = made
        self.wait(lambda: self._ready(settings.api.public_url))
        return made

    def start_all(self, **sections: Any) -> None:
        for number in range(len(self.watcher_ports)):
            self.start(f"watcher-{number}", self.watcher_settings(number))
        self.start("provider", self.provider_settings(**sections))

    def stop(self, name: str) -> None:
        self.running.pop(name).stop()

    def close(self) -> None:
        for name in reversed(list(self.running)):
            self.stop(name)

    def _ready(self, url: str) -> bool:
        try:
            return httpx.get(f"{url}/readyz", trust_env=False, verify=NO_TLS).status_code == 200
        except httpx.HTTPError:
            return False

    # Jobs

    def terms(self, buyer: Sender, class_id: int, **changes: Any) -> JobTerms:
        now, self.salt = self.chain.at().time(), self.salt + 1
        values = {
            "payer": buyer.address, "provider": self.provider, "class_id": class_id, "max_units": 10_000,
            "resources": 1, "accept_by": now + 120, "submit_by": now + 600, "spec_hash": spec_hash(SPEC),
            "budget_id": 0, "salt": self.salt,
        } | changes  # fmt: skip
        return JobTerms(**values)

    def id_of(self, terms: JobTerms) -> bytes:
        return job_id(terms, self.chain.chain_id, self.chain.address("JobMarket"))

    def quote(self, terms: JobTerms, spec: JobSpec = SPEC) -> bytes:
        body = {"terms": terms.to_json(), "spec": spec.to_json()}
        answer = httpx.post(f"{self.url}/quotes", json=body, trust_env=False)
        assert answer.status_code == 200, answer.text
        return to_bytes("quote", answer.json()["quote"], 65)

    def put_spec(self, spec: JobSpec = SPEC) -> None:
        url = f"{self.url}/specs/0x{spec_hash(spec).hex()}"
        assert httpx.put(url, json=spec.to_json(), trust_env=False).status_code == 200

    def open(self, buyer: Sender, terms: JobTerms, quote: bytes = b"") -> bytes:
        call = self.chain.contract("JobMarket").functions.open(terms.to_abi(), quote)
        buyer.send(call, label="open")
        return self.id_of(terms)

    def show(self, job: bytes) -> dict[str, Any]:
        answer = httpx.get(f"{self.url}/jobs/0x{job.hex()}", trust_env=False, verify=NO_TLS)
        found: dict[str, Any] = answer.json()
        return found

    def private(self, job: bytes, what: str, name: str = "buyer") -> httpx.Response:
        """A job's output or evidence, asked for by the account of this name."""
        auth = SignedBy(account(name), self.chain.chain_id, self.chain.address("JobMarket"))
        return httpx.get(f"{self.url}/jobs/0x{job.hex()}/{what}", auth=auth, trust_env=False, verify=NO_TLS)

    def status(self, job: bytes) -> Status:
        return jobs.status(self.chain.at(), job)

    def wait(self, condition: Callable[[], Any], seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            for name, one in self.running.items():
                assert not one.failure, f"{name}: {one.failure[0]!r}"
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.02)

    def wait_for(self, wanted: Sequence[bytes], status: Status) -> None:
        """Until the chain says so, and the provider too."""
        state = status.name.lower()
        try:
            self.wait(lambda: all(self.status(job) is status for job in wanted))
            self.wait(lambda: all(self.show(job)["state"] == state for job in wanted))
        except AssertionError as error:
            shown = [self.show(job) for job in wanted]
            raise AssertionError(f"{error}: wanted {state}, {shown}") from error


def catalogue_on(folder: Path, engine: str) -> Path:
    """The usual catalogue with one more line in each template."""
    path = folder / f"{engine}.toml"
    text = DEFAULT_FILE.read_text()
    path.write_text(text.replace("deterministic = true", f'deterministic = true\nengine = "{engine}"'))
    return path


@contextmanager
def lab(
    system: System, chain: Chain, folder: Path, watchers: int, threshold: int | None = None
) -> Iterator[OracleLab]:
    """Prepared, nothing running yet; stops what was started."""
    folder.mkdir(parents=True, exist_ok=True)
    made = OracleLab(system, folder, chain)
    made.prepare(watchers, threshold)
    try:
        yield made
    finally:
        made.close()
