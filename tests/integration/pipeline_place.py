"""Two providers with a class each, and an agent: for the pipelines' tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.ledger import Ledger
from agents.market import listings
from agents.pipeline.driver import Driver, Source
from agents.pipeline.funds import Actor
from agents.pipeline.plan import Plan
from agents.pipeline.run import Result
from demo.processes import free_ports
from oracle.catalogue import DEFAULT_FILE
from scrip import deployments, jobs
from scrip.chain import Chain
from scrip.journal import InMemoryJournal
from scrip.sender import LOCAL_POLICY, Sender
from tests.integration.oracle_lab import OFTEN, OracleLab, lab
from tests.integration.system import REGION, System, account

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "scrip.txt").read_text("utf-8")
USD = 1_000_000
CHEAP, DEAR = 1_000_000, 2_000_000
"""Prices of the two classes, per million credits."""

PLAN = """
name = "two"
inputs = ["question", "document"]

[[stage]]
name = "retrieve"
template = "text.retrieve"
resource = "CPU_SECOND"
max_units = 4_000
params = { query = { input = "question" }, document = { input = "document" } }

[[stage]]
name = "check"
template = "text.check"
resource = "CPU_SECOND"
max_units = 4_000
params = { claim = { input = "question" }, sources = { from = "retrieve", at = "/text" } }
"""
INPUTS = {"question": "Where is the money kept?", "document": TEXT}


@dataclass
class Place:
    """What is there. `cheap` and `dear` are class ids, of the first and of the second provider alone."""

    lab: OracleLab
    second: str
    second_port: int
    cheap: int
    dear: int
    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def chain(self) -> Chain:
        return self.lab.chain

    @property
    def folder(self) -> Path:
        return self.lab.folder / "run"

    def start(self, **broken: str) -> None:
        """Start both nodes. Templates named in `broken` have other limits at the first one."""
        own: dict[str, Any] = {}
        if broken:
            own = {"provider": {"catalogue": self._catalogue(**broken)}}
        self.lab.start("provider", self.lab.provider_settings(**own))
        self.lab.start(
            "second",
            self.lab.provider_settings(
                state_dir=self.lab.folder / "second",
                key={
                    "keystore": self.lab.folder / "oracle 2.json",
                    "password_file": self.lab.folder / "password",
                },
                api={"port": self.second_port, "public_url": f"http://127.0.0.1:{self.second_port}"} | OFTEN,
                provider={"address": self.second},
            ),
        )

    def plan(self, text: str = PLAN) -> Path:
        """The plan as a file."""
        path = self.lab.folder / "plan.toml"
        path.write_text(text, "utf-8")
        return path

    def actor(self, name: str = "agent") -> Actor:
        """An account with dollars, and its sender."""
        made = self.lab.system.funded(name)
        self.lab.system.mint(made.address, 10 * USD)
        return Actor(self.chain, Sender(self.chain, made, InMemoryJournal(), LOCAL_POLICY), made)

    def driver(self, actor: Actor) -> Driver:
        """One that keeps the steps it is told."""
        return Driver(actor, listings, on_step=lambda stage, text: self.steps.append((stage, text)))

    def run(self, actor: Actor, source: Source, text: str = PLAN) -> Result:
        """Quote and run the plan."""
        driver, plan = self.driver(actor), Plan.load(self.plan(text))
        return driver.start(self.folder, plan, INPUTS, source, driver.quote(plan, INPUTS, source))

    def source(self, limit: int = USD) -> Source:
        """A limit on the agent's own account."""
        return Source(self.token, Ledger(self.lab.folder / "spent.json", limit))

    @property
    def token(self) -> str:
        """The payment token."""
        return self.chain.address("DemoUSD")

    def opened(self, payer: str) -> list[jobs.Opening]:
        """Jobs that were opened for an account."""
        return jobs.openings(self.chain.at(), payer=payer)

    def command(self, *arguments: str) -> list[str]:
        """A command line of `scrip` for the agent's account."""
        folder = self.lab.folder
        deployments.save(self.lab.system.deployment, folder / "deployments")
        self.lab.funded_keystore("agent")
        options = {
            "--rpc": self.lab.system.anvil.url,
            "--deployment": str(folder / "deployments"),
            "--keystore": str(folder / "agent.json"),
            "--password-file": str(folder / "password"),
            "--state": str(folder / "agent-state"),
        }
        given = [part for option in options.items() for part in option]
        return [sys.executable, "-m", "scrip.cli.main", "--json", *given, "pipeline", *arguments]

    def scrip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        return subprocess.run(
            self.command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=180, check=False
        )

    def _catalogue(self, **broken: str) -> Path:
        """The usual catalogue with other limits for the named `text.*` templates."""
        text = DEFAULT_FILE.read_text("utf-8")
        for name, line in broken.items():
            start = text.index(f'name = "text.{name}"')
            at = text.index("limits = ", start)
            text = text[:at] + line + text[text.index("\n", at) :]
        path = self.lab.folder / "broken.toml"
        path.write_text(text, "utf-8")
        return path


@contextmanager
def place(system: System, chain: Chain, folder: Path) -> Iterator[Place]:
    """Both providers registered, their classes made, nothing running; stops what was started."""
    with lab(system, chain, folder, watchers=0) as made:
        made.funded_keystore("oracle 2")
        second = system.funded("provider 2").address
        [port] = free_ports(1)
        system.register(second, account("oracle 2").address)
        uri = f"http://127.0.0.1:{port}/.well-known/agent-registration.json"
        system.send("ProviderRegistry", "update", account("oracle 2").address, REGION, uri, sender=second)
        cheap = system.create_class([made.provider], price_per_million=CHEAP)
        dear = system.create_class([second], price_per_million=DEAR)
        yield Place(made, second, port, cheap, dear)
