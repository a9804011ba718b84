"""A whole Scrip on this machine: Anvil, contracts, funded accounts, classes, a provider and its watchers.

with running(Options()) as stack:      # chain, contracts, accounts, stake, classes, settings files
    stack.start_nodes()                # provider and watchers as processes, ready when this returns

python -m demo.stack up             # the same, until interrupted
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from eth_account.signers.local import LocalAccount
from web3 import Web3

from demo import anvil, llm_server
from demo.classes import (
    CPU_OF_ONE,
    CPU_SKU,
    SKUS,
    DemoClasses,
    create_class,
    create_demo_classes,
    terms_of,
)
from demo.processes import free_ports
from demo.stack_config import (
    ORACLE,
    PROVIDER,
    Layout,
    Options,
    Table,
    deploy_tables,
    gateway_table,
    node_tables,
    provider_tables,
    render,
)
from demo.stack_node import Node
from scrip import deployments, keys
from scrip.chain import Chain
from scrip.deploying import local
from scrip.deploying.config import Overrides, for_chain
from scrip.deploying.plan import FIRST_SET
from scrip.errors import BadInput, ScripError
from scrip.journal import InMemoryJournal
from scrip.sender import LOCAL_POLICY, Sender
from scrip.types import Deployment, region_bytes, sku_id

USD: Final = 1_000_000
"""Base units of one dUSD."""
COIN: Final = 10**18
"""Wei that every account starts with, times 100."""
BUYER_DOLLARS, PROVIDER_DOLLARS, STAKE_DOLLARS = 1_000, 5_000, 1_000
REGION: Final = "local"


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack that is up: chain, contracts, accounts and classes are there; `nodes` run once started.

    `more_classes` are those of the other providers, in their order.
    """

    options: Options
    layout: Layout
    anvil: anvil.Anvil
    deployment: Deployment
    chain: Chain
    accounts: Mapping[str, LocalAccount]
    classes: DemoClasses
    nodes: Mapping[str, Node]
    more_classes: tuple[int, ...] = ()
    senders: dict[str, Sender] = field(default_factory=dict)
    engines: tuple[Node, ...] = ()
    """Inference servers behind the provider's gateway."""

    @property
    def rpc_url(self) -> str:
        """URL of the chain's node."""
        return self.anvil.url

    @property
    def payment_token(self) -> str:
        """Address of DemoUSD."""
        return self.deployment.address("DemoUSD")

    @property
    def provider(self) -> str:
        """Address that owns the provider's stake and earnings."""
        return str(self.accounts[PROVIDER].address)

    @property
    def providers(self) -> tuple[str, ...]:
        """Addresses of all providers, the first one's first."""
        others = (str(self.accounts[name].address) for name, _ in self.options.more_names)
        return (self.provider, *others)

    @property
    def provider_url(self) -> str:
        """URL of the provider's API."""
        return self.nodes[PROVIDER].url

    @property
    def watcher_urls(self) -> tuple[str, ...]:
        """URLs of the watchers' APIs."""
        return tuple(self.nodes[name].url for name in self.options.watcher_names)

    def sender(self, name: str) -> Sender:
        """The one sender of an account: issuer, provider, oracle, watcher-<n>, buyer, stranger or another.

        Don't use `oracle`'s while the provider's node runs: it sends from the same account.
        """
        if name not in self.senders:
            self.senders[name] = Sender(self.chain, self.accounts[name], InMemoryJournal(), LOCAL_POLICY)
        return self.senders[name]

    def start_nodes(self) -> None:
        """Start watchers and provider and wait until all are ready. Raises NodeFailed."""
        for node in (*self.engines, *self.nodes.values()):
            node.start()
        for node in (*self.engines, *self.nodes.values()):
            node.wait_ready()

    def start_oracle(self) -> None:
        """Start the provider's node, again after a kill, and wait until it is ready. Raises NodeFailed."""
        self.nodes[PROVIDER].start()
        self.nodes[PROVIDER].wait_ready()

    def stop_nodes(self) -> None:
        """Stop every node, the provider first: its last receipts may still need the watchers."""
        for name in reversed(list(self.nodes)):
            self.nodes[name].stop()
        for engine in self.engines:
            engine.stop()


@contextlib.contextmanager
def running(options: Options | None = None) -> Iterator[Stack]:
    """Bring a stack up and take it down again, with everything that was started in between."""
    wanted = options or Options()
    with contextlib.ExitStack() as cleanup:
        layout = Layout(_run_folder(wanted, cleanup))
        node = cleanup.enter_context(anvil.running(chain_id=wanted.chain_id, block_time=wanted.block_time))
        stack = _bring_up(wanted, layout, node)
        cleanup.callback(stack.stop_nodes)
        yield stack


def _bring_up(options: Options, layout: Layout, node: anvil.Anvil) -> Stack:
    accounts = _create_accounts(options, layout)
    for account in accounts.values():
        node.set_balance(account.address, 100 * COIN)
    deployment = _deploy(options, layout, node.url, accounts)
    chain = Chain.connect(node.url, deployment)
    nodes = _configure_nodes(options, layout, node.url, accounts)
    senders = {
        name: Sender(chain, accounts[name], InMemoryJournal(), LOCAL_POLICY)
        for name in ("issuer", PROVIDER, "buyer")
    }
    mint(chain, senders["buyer"], BUYER_DOLLARS * USD)
    register_provider(chain, senders[PROVIDER], str(accounts[ORACLE].address), nodes[PROVIDER].url)
    classes = create_demo_classes(
        chain, senders["issuer"], payment_token=deployment.address("DemoUSD"), watcher_set=FIRST_SET
    )
    engines = (_sell_inference(layout, classes.llm, options.llm_slots),) if options.gateway else ()
    stack = Stack(options, layout, node, deployment, chain, accounts, classes, nodes, (), senders, engines)
    _write_environments(stack)
    return replace(stack, more_classes=tuple(_add_provider(stack, *names) for names in options.more_names))


def _write_environments(stack: Stack) -> None:
    """For each account, what makes the shell's `scrip` act as it; PROVIDER and TOKEN are addresses."""
    layout = stack.layout
    common = {
        "SCRIP_RPC": stack.rpc_url,
        "SCRIP_DEPLOYMENT": str(layout.deployments),
        "SCRIP_PASSWORD_FILE": str(layout.password),
        "PROVIDER": stack.provider,
        "PROVIDER_URL": stack.provider_url,
        "TOKEN": stack.payment_token,
    }
    for name, account in stack.accounts.items():
        own = {
            "SCRIP_KEYSTORE": str(layout.keystore(name)),
            "SCRIP_STATE": str(layout.state(f"cli-{name}")),
            "ME": str(account.address),
        }
        lines = (f"export {key}={shlex.quote(value)}\n" for key, value in (common | own).items())
        layout.environment(name).write_text("".join(lines), "utf-8")


def _add_provider(stack: Stack, name: str, oracle: str) -> int:
    """Register one that serves CPU-seconds, with a class that it alone may serve; the class's id."""
    url, key = stack.nodes[name].url, str(stack.accounts[oracle].address)
    register_provider(stack.chain, stack.sender(name), key, url, (CPU_SKU,))
    issuer, address = stack.sender("issuer"), str(stack.accounts[name].address)
    terms = terms_of(
        CPU_OF_ONE, issuer=issuer.address, payment_token=stack.payment_token, watcher_set=FIRST_SET
    )
    return create_class(stack.chain, issuer, terms, [address])


def mint(chain: Chain, sender: Sender, amount: int) -> None:
    """Give `sender`'s account dUSD, base units."""
    call = chain.contract("DemoUSD").functions.mint(sender.address, amount)
    sender.send(call, label="mint dUSD")


def register_provider(
    chain: Chain, provider: Sender, oracle: str, url: str, labels: Sequence[str] = SKUS
) -> None:
    """Register the provider with its oracle's key, URL and SKUs, and stake `STAKE_DOLLARS`."""
    registry = chain.contract("ProviderRegistry")
    uri, skus = f"{url}/.well-known/agent-registration.json", [sku_id(label) for label in labels]
    mint(chain, provider, PROVIDER_DOLLARS * USD)
    calls = {
        "register": registry.functions.register(oracle, region_bytes(REGION), uri, skus),
        "approve stake": chain.contract("DemoUSD").functions.approve(registry.address, STAKE_DOLLARS * USD),
        "stake": registry.functions.stake(STAKE_DOLLARS * USD),
    }
    for label, call in calls.items():
        provider.send(call, label=label)


def _run_folder(options: Options, cleanup: contextlib.ExitStack) -> Path:
    if options.run_dir is None:
        folder = Path(tempfile.mkdtemp(prefix="scrip-stack-"))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
    else:
        folder = options.run_dir.resolve()
        if folder.exists() and any(folder.iterdir()):
            raise BadInput("run_dir", str(folder), "missing or empty", "Each stack has a chain of its own")
    for name in ("keys", "config", "env", "logs", "state"):
        (folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _create_accounts(options: Options, layout: Layout) -> dict[str, LocalAccount]:
    """A fresh key for everybody, in keystores under one random password."""
    password = secrets.token_urlsafe(24)
    layout.password.touch(mode=0o600)
    layout.password.write_text(password + "\n")
    accounts = {}
    for name in options.account_names:
        keys.create(layout.keystore(name), password, work=keys.SCRYPT_WORK_LIGHT)
        accounts[name] = keys.load(
            layout.keystore(name), chain_id=options.chain_id, password_file=layout.password
        )
    return accounts


def _deploy(
    options: Options, layout: Layout, rpc_url: str, accounts: Mapping[str, LocalAccount]
) -> Deployment:
    w3 = Web3(Web3.HTTPProvider(rpc_url))
    watchers = [str(accounts[name].address) for name in options.watcher_names]
    tables = deploy_tables(str(accounts["issuer"].address), watchers, options.threshold)
    config = for_chain(options.chain_id, w3.eth.accounts[0], Overrides.model_validate(tables))
    deployment = local.deploy(w3, config)
    deployments.save(deployment, layout.deployments)
    return deployment


def _configure_nodes(
    options: Options, layout: Layout, rpc_url: str, accounts: Mapping[str, LocalAccount]
) -> dict[str, Node]:
    """Write every node's settings; the watchers come first, because the providers need them."""
    keys_of = {name: name for name in options.watcher_names} | {PROVIDER: ORACLE} | dict(options.more_names)
    ports = free_ports(len(keys_of))
    urls = {name: f"http://{anvil.HOST}:{port}" for name, port in zip(keys_of, ports, strict=True)}
    watchers = [urls[name] for name in options.watcher_names]
    for name, key in keys_of.items():
        tables = node_tables(options, layout, rpc_url, name, key, urls[name])
        if name not in options.watcher_names:
            address = str(accounts[name].address)
            tables = provider_tables(options, tables, address, watchers, gpus=name == PROVIDER)
        _write(layout.config(name), tables)
    run = (sys.executable, "-m", "scrip.cli.main", "oracle", "run", "--config")
    return {
        name: Node(name, urls[name], (*run, str(layout.config(name))), layout.log(name)) for name in keys_of
    }


def _sell_inference(layout: Layout, class_id: int, slots: int) -> Node:
    """Add a gateway to the provider's settings; the inference server behind it, not started yet."""
    engine = llm_server.server(layout.log("llm"), slots=slots)
    upstream = llm_server.upstream(engine.url, slots=slots)
    config = layout.config(PROVIDER)
    tables = gateway_table(class_id, llm_server.MODEL, upstream)
    config.write_text(f"{config.read_text('utf-8')}\n{render(tables)}", "utf-8")
    return engine


def _write(path: Path, tables: Mapping[str, Table]) -> None:
    path.write_text(render(tables), "utf-8")


def main(arguments: Sequence[str]) -> int:
    """`python -m demo.stack up`: print the URLs, run until interrupted; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo.stack", description="A local Scrip.")
    up = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "up", help="run until interrupted"
    )
    up.add_argument("--run-dir", type=Path, help="keep keys, settings, state and logs there")
    up.add_argument("--gateway", action="store_true", help="the provider sells the small model by the call")
    up.add_argument("--web-origin", action="append", default=[], help="whose pages may call the provider")
    up.add_argument("--no-nodes", action="store_true", help="chain, contracts and classes only")
    given = parser.parse_args(arguments)
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    try:
        pages = tuple(given.web_origin)
        with running(Options(run_dir=given.run_dir, gateway=given.gateway, web_origins=pages)) as stack:
            if not given.no_nodes:
                stack.start_nodes()
            print(summary(stack), flush=True)
            interrupted.wait()
    except ScripError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def summary(stack: Stack) -> str:
    """Where everything is, for people."""
    ids = stack.classes
    lines = {
        "chain": f"{stack.rpc_url} (chain {stack.options.chain_id})",
        "files": str(stack.layout.root),
        **{
            name: node.url + ("" if node.is_running else " (not started)")
            for name, node in stack.nodes.items()
        },
        "classes": f"LLM tokens {ids.llm}, CPU-seconds {ids.cpu}, GPU-seconds {ids.gpu}",
        "buyer": f"{stack.accounts['buyer'].address}, {BUYER_DOLLARS} dUSD",
    }
    return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
