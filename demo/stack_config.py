"""Where a local stack keeps its files, and the settings of its nodes (see oracle/settings.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from demo.classes import GPU_SKU

PROVIDER: Final = "provider"
"""Name of the provider's node, and of the account that owns its stake and earnings."""

ORACLE: Final = "oracle"
"""Account the provider's node signs with."""

Table = Mapping[str, str | int | bool | Sequence[str] | Sequence[int]]


@dataclass(frozen=True, slots=True)
class Layout:
    """Files of one stack, all under its run folder."""

    root: Path

    @property
    def deployments(self) -> Path:
        """Folder of `<chainId>.json`."""
        return self.root / "deployments"

    @property
    def password(self) -> Path:
        """File with the password of all keystores."""
        return self.root / "keys" / "password"

    def keystore(self, name: str) -> Path:
        """Keystore of an account."""
        return self.root / "keys" / f"{name}.json"

    def environment(self, name: str) -> Path:
        """Shell file that makes `scrip` act as an account: `source` it."""
        return self.root / "env" / f"{name}.sh"

    def config(self, node: str) -> Path:
        """Settings of a node, or `deploy` for those of the deployment."""
        return self.root / "config" / f"{node}.toml"

    def state(self, node: str) -> Path:
        """What a node remembers: its store and evidence."""
        return self.root / "state" / node

    def log(self, name: str) -> Path:
        """What a process printed."""
        return self.root / "logs" / f"{name}.log"


@dataclass(frozen=True, slots=True)
class Options:
    """What a stack is like.

    `run_dir` must be missing or empty; None is a temporary folder, removed in the end. `gpus` are UUIDs of
    real GPUs with the label `gpu_sku`; without any the GPU class is served by the simulated NVML and says so,
    or by nobody without `simulated_gpu`.
    `tick_ms` is how often meters are read, `max_batch` how many receipts the provider sends at once,
    `finality_depth` is blocks. With `gateway` the provider sells the small model by the call, from a
    llama.cpp of its own that serves `llm_slots` calls at once. `more_providers` serve CPU-seconds only, each
    a class of its own. Pages of `web_origins` may call the nodes from a browser.
    """

    run_dir: Path | None = None
    chain_id: int = 31337
    block_time: int = 1
    watchers: int = 2
    threshold: int = 2
    slots: int = 2
    tick_ms: int = 1_000
    poll_ms: int = 200
    max_batch: int = 1
    finality_depth: int = 0
    gpus: tuple[str, ...] = ()
    gpu_sku: str = GPU_SKU
    simulated_gpu: bool = True
    gateway: bool = False
    llm_slots: int = 4
    more_providers: int = 0
    web_origins: tuple[str, ...] = ()

    @property
    def watcher_names(self) -> tuple[str, ...]:
        """Names of the watchers' nodes and of the accounts they sign with."""
        return tuple(f"watcher-{number}" for number in range(1, self.watchers + 1))

    @property
    def more_names(self) -> tuple[tuple[str, str], ...]:
        """Names of the other providers' nodes and owners, and of the accounts those nodes sign with."""
        numbers = range(2, 2 + self.more_providers)
        return tuple((f"{PROVIDER}-{number}", f"{ORACLE}-{number}") for number in numbers)

    @property
    def account_names(self) -> tuple[str, ...]:
        """Everybody with a key of their own."""
        more = (name for names in self.more_names for name in names)
        return ("issuer", PROVIDER, ORACLE, *self.watcher_names, "buyer", "stranger", *more)


def deploy_tables(issuer: str, watchers: Sequence[str], threshold: int) -> dict[str, Table]:
    """Parameters of the deployment (scrip/deploying/config.py): who issues classes, who watches."""
    tables: dict[str, Table] = {"roles": {"issuers": [issuer]}}
    if watchers:
        tables["watchers"] = {"members": list(watchers), "threshold": threshold}
    return tables


def node_tables(
    options: Options, layout: Layout, rpc_url: str, node: str, key: str, url: str
) -> dict[str, Table]:
    """What provider and watcher settings have in common. `key` names the account the node signs with."""
    return {
        "": {
            "role": "watcher",
            "state_dir": str(layout.state(node)),
            "poll_ms": options.poll_ms,
            "reconcile_s": 5,
        },
        "chain": {
            "rpc_url": rpc_url,
            "chain_id": options.chain_id,
            "deployment": str(layout.deployments),
            "finality_depth": options.finality_depth,
        },
        "key": {"keystore": str(layout.keystore(key)), "password_file": str(layout.password)},
        "api": {
            "port": int(url.rpartition(":")[2]),
            "public_url": url,
            "web_origins": list(options.web_origins),
        },
    }


def provider_tables(
    options: Options, base: Mapping[str, Table], address: str, watchers: Sequence[str], *, gpus: bool = True
) -> dict[str, Table]:
    """Settings of a provider's node: `base` with what it serves and the URLs of its watchers."""
    gpu: dict[str, str | bool | Sequence[str]] = {}
    if gpus and (options.gpus or options.simulated_gpu):
        gpu = {"gpu_sku": options.gpu_sku}
        gpu |= {"gpus": list(options.gpus)} if options.gpus else {"simulated_gpu": True}
    return {
        **base,
        "": {**base[""], "role": "provider"},
        "provider": {"address": address, "slots": options.slots, "tick_ms": options.tick_ms, **gpu},
        "quorum": {"watchers": list(watchers), "timeout_s": 60},
        "settle": {"max_batch": options.max_batch, "max_age_s": 2, "retry_s": 1},
    }


def gateway_table(class_id: int, model: str, upstream: Mapping[str, object]) -> dict[str, Table]:
    """Settings of a gateway that sells `model` for credits of a class of output tokens: one a token, a
    quarter for one of the input, a fortieth for one that the server had cached.
    """
    rate = {
        "model": model, "class_id": class_id, "input": 250_000, "cached_input": 25_000, "output": 1_000_000,
    }  # fmt: skip
    return {
        "gateway": {
            "upstreams": json.dumps({model: upstream}), "rates": json.dumps([rate]), "claim_age_s": 5,
            "claim_retry_s": 1,
        }
    }  # fmt: skip


def render(tables: Mapping[str, Table]) -> str:
    """TOML of flat tables; the one named "" is the top. JSON's strings, numbers and lists are TOML's too."""
    blocks = []
    for name, table in sorted(tables.items()):
        lines = [f"[{name}]"] if name else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
