"""Where the examples of the command line run: a folder, parties on a chain, and what an example needs.

An example is typed as a person would, in a shell: `$JOB` and the like are variables. It acts for the account
in `key.json`, which is whoever the example is about.
"""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak
from typer.testing import CliRunner

from demo.anvil import MNEMONIC
from scrip import deployments, keys
from scrip.cli.main import app
from scrip.eip712_watchers import verdict_digest
from scrip.types import Fault, Funding, JobTerms, Verdict
from scrip.types_spending import SessionTerms
from tests.integration.scene import UNIT_PRICE, Scene
from tests.integration.system import account, signed

PASSWORD = "open sesame"  # noqa: S105
DOLLAR = 1_000_000
CREDIT = 1_000
"""Base units of a credit of class 1, which costs a dollar."""
WINDOW = 3_600
DAY = 86_400

CLASS = """
name = "GPU seconds, H100"
resource = "gpu-second"
sku = "nvidia-h100-80gb"
region = "eu"
decimals = 3
token = "{token}"
price = "2.50"
max_supply = "1000000"
max_rate = "8"
min_assurance = 2
watcher_set = 1
challenge_window = "24h"
arbiter_set = 1
stake = "100"
expiry = "365d"
max_per_holder = "10000"
providers = ["{provider}"]
"""


@dataclass
class Stage:
    """The folder that examples run in, and the variables of its shell."""

    scene: Scene
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        deployments.save(self.scene.chain.deployment, self.folder / "deployments")
        self.variables |= {
            "SCRIP_RPC": self.scene.system.anvil.url, "SCRIP_DEPLOYMENT": str(self.folder / "deployments"),
            "SCRIP_PASSWORD": PASSWORD, "SCRIP_STATE": str(self.folder / "state"), "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder / "config"), "ACCOUNT": self.scene.at("friend"),
            "PROVIDER": self.scene.at("provider"), "ORACLE": self.scene.at("new oracle"),
            "SEED": "0x" + "ab" * 32,
        }  # fmt: skip
        if "PriceFeed" in self.scene.chain.deployment.contracts:
            self.variables["FEED"] = self.scene.at("PriceFeed")
        (self.folder / "README.md").write_text("A credit is a unit of compute.\n")
        token = self.scene.at("DemoUSD")
        (self.folder / "class.toml").write_text(CLASS.format(token=token, provider=self.scene.at("provider")))

    # Running

    def run(self, example: str, *more: str) -> Any:
        """Run what follows `scrip` in an example, with the folder's shell."""
        words = shlex.split(example)
        assert words[0] == "scrip"
        given = [os.path.expandvars(os.path.expanduser(word)) for word in words[1:]]
        assert not any("$" in word for word in given), given
        return CliRunner().invoke(app, [*given, *more])

    def done(self, command: str, *more: str) -> Any:
        """Its JSON result; it must work."""
        result = self.run(command, *more, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout) if result.stdout.strip() else None

    def blocks(self) -> int:
        """Blocks so far: each transaction makes one."""
        return self.scene.chain.head()

    # Who

    def by(self, who: LocalAccount | str) -> LocalAccount:
        """From now on `key.json` is this account's, with coin for gas."""
        made = account(who) if isinstance(who, str) else who
        self.scene.system.anvil.set_balance(made.address, 100 * 10**18)
        path = self.folder / "key.json"
        path.unlink(missing_ok=True)
        keys.import_key(path, bytes(made.key), PASSWORD, work=keys.SCRYPT_WORK_LIGHT)
        return made

    def admin(self) -> LocalAccount:
        """From now on it is that of Anvil's first account, which deployed and issued everything."""
        Account.enable_unaudited_hdwallet_features()
        made: LocalAccount = Account.from_mnemonic(MNEMONIC)
        assert made.address == self.scene.system.admin
        return self.by(made)

    def buyer(self) -> LocalAccount:
        """From now on it is that of an account with 1000 credits of class 1 and 1000 dollars."""
        made = self.by("buyer")
        self.scene.give("buyer", 1_000 * CREDIT)
        self.scene.system.mint(made.address, 1_000 * DOLLAR)
        return made

    # What

    def role(self, contract: str, role: str, who: str) -> None:
        self.scene.system.send(contract, "grantRole", keccak(text=role), who)

    def class_with(self, **terms: Any) -> int:
        return self.scene.system.create_class(**{"price_per_million": UNIT_PRICE * 10**9, **terms})

    def granted(self) -> None:
        assert self.class_with(funding=Funding.GRANT) == 2
        self.admin()

    def opened(self, quote: bool = False, **changes: Any) -> JobTerms:
        """A job of the buyer's; `$JOB` is its id."""
        terms = self.scene.job("buyer", **changes)
        signature = self.scene.quote(terms) if quote else b""
        self.scene.send("buyer", "JobMarket", "open", terms.to_abi(), signature)
        os.environ["JOB"] = "0x" + self.scene.job_id(terms).hex()
        return terms

    def submitted(self) -> JobTerms:
        """A job whose receipt waits for its window, in class 2, which has arbiters."""
        class_id = self.class_with(challenge_window=WINDOW, arbiter_set=1, watcher_set=1, max_rate=10**9)
        self.buyer()
        self.scene.give("buyer", 100 * CREDIT, class_id)
        terms = self.opened(quote=True, class_id=class_id)
        self.scene.submit(terms, self.scene.receipt(terms, 4 * CREDIT))
        return terms

    def disputed(self) -> JobTerms:
        """The same job, challenged by an account that is the example's."""
        terms = self.submitted()
        challenger = self.by("challenger")
        self.scene.system.mint(challenger.address, 1_000 * DOLLAR)
        self.done("scrip --keystore key.json dispute open $JOB")
        return terms

    def settled(self) -> None:
        """A job that ended, for which the provider was paid."""
        self.buyer()
        terms = self.opened(quote=True)
        self.scene.submit(terms, self.scene.receipt(terms, 4 * CREDIT))

    def won(self) -> None:
        """A dispute that the challenger won."""
        terms = self.disputed()
        verdict = Verdict(self.scene.job_id(terms), 0, Fault.PROVIDER)
        said = signed(verdict_digest(verdict, *self.scene.domain("JobMarket")), ("watcher 0", "watcher 1"))
        self.scene.send("relayer", "JobMarket", "resolve", terms.to_abi(), verdict.to_abi(), said)

    def session(self) -> SessionTerms:
        """A session of the buyer's; `$SESSION` is its id."""
        self.buyer()
        terms = self.scene.session("buyer", key="buyer")
        self.scene.send("buyer", "MeteredSessions", "openSession", terms.to_abi(), 10 * CREDIT)
        os.environ["SESSION"] = "0x" + self.scene.session_id(terms).hex()
        return terms

    def budgets(self, count: int = 1) -> None:
        self.buyer()
        for _ in range(count):
            self.scene.budget("buyer", self.scene.limits("friend", lifetime=200 * DOLLAR))

    def offer(self) -> None:
        """`offers.json` of a maker with credits."""
        self.by("seller")
        self.scene.give("seller", 100 * CREDIT)
        self.done("scrip --keystore key.json offer create 1 5 6.5 --out offers.json")

    def offered(self) -> None:
        self.offer()
        self.buyer()

    def staked(self) -> None:
        made = self.by("provider")
        self.scene.system.stake(made.address, 100 * DOLLAR)
        self.scene.system.mint(made.address, 100 * DOLLAR)

    def unstaked(self) -> None:
        self.staked()
        self.done("scrip --keystore key.json provider unstake 20")
        delay = int(self.scene.read("ProviderRegistry", "UNBONDING_DELAY"))
        self.scene.system.anvil.advance(delay + 1)

    def attested(self) -> None:
        """`capacity.json`, signed by two watchers."""
        for name in ("watcher 0", "watcher 1"):
            self.by(name)
            self.done(
                "scrip --keystore key.json watcher sign-capacity capacity.json --provider $PROVIDER "
                "--sku test-cpu --set 1 --count 8 --until 7d"
            )

    def priced(self) -> None:
        """`price.json`, signed by two watchers."""
        for name in ("watcher 0", "watcher 1"):
            self.by(name)
            self.done("scrip --keystore key.json watcher sign-price price.json --feed $FEED --price 2.5")

    def judged(self) -> None:
        """`verdict.json`, signed by two arbiters."""
        self.disputed()
        for name in ("watcher 0", "watcher 1"):
            self.by(name)
            self.done(
                "scrip --keystore key.json dispute verdict sign verdict.json "
                "--job $JOB --units 0 --fault provider"
            )

    def proposed(self) -> None:
        self.admin()
        self.done("scrip --keystore key.json watcher propose $ACCOUNT $ORACLE --threshold 2")

    def profiled(self) -> None:
        self.done("scrip profile add local --node http://127.0.0.1:8545")

    def closed(self) -> None:
        self.buyer()
        self.scene.system.send("ComputeCredits", "closeClass", 1)

    def swept(self) -> None:
        ends = self.scene.now + DAY
        assert self.class_with(expiry=ends) == 2
        self.buyer()
        self.scene.give("buyer", CREDIT, 2)
        self.scene.system.anvil.advance(181 * DAY + DAY)

    def pausing(self) -> None:
        self.role("ComputeCredits", "PAUSER_ROLE", self.admin().address)

    def past(self, seconds: int) -> None:
        self.scene.system.anvil.advance(seconds)


def enter(scene: Scene, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage in a new folder. What its shell has set is gone after the test."""
    monkeypatch.chdir(folder)
    for name in ("SCRIP_KEYSTORE", "SCRIP_PASSWORD_FILE", "SCRIP_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    made = Stage(scene, folder)
    for name, value in made.variables.items():
        monkeypatch.setenv(name, value)
    for name in ("JOB", "SESSION", "KEY"):
        monkeypatch.setenv(name, "")
    return made
