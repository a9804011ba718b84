"""`--dry-run`: what a command would send, simulated on the chain as it is. Sends nothing, remembers nothing.

An approval only makes way for the transaction after it, so both are simulated together, in their order
(`eth_simulateV1`); a node that can't do that simulates the first and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from eth_abi.abi import decode
from eth_utils.abi import collapse_if_tuple
from eth_utils.crypto import keccak
from web3.types import RPCEndpoint, TxReceipt

from scrip import fees
from scrip.abi import ERC20, abi
from scrip.amounts import format_units
from scrip.calls import Call, Signature
from scrip.cli.context import Context
from scrip.cli.output import clean, facts, hexed
from scrip.errors import NodeDeclined
from scrip.journal import InMemoryJournal
from scrip.reverts import decode_revert
from scrip.rpc import error_of
from scrip.sender import GAS_MARGIN_PERCENT, MAX_GAS, Sender, Signer
from scrip.structs import to_bytes

if TYPE_CHECKING:
    from rich.console import Console
    from web3.contract.contract import ContractFunction

    from scrip.chain import Chain

COIN_DECIMALS: Final = 18
GWEI_DECIMALS: Final = 9
METHOD_MISSING: Final = -32601
"""JSON-RPC's "method not found" (https://www.jsonrpc.org/specification#error_object)."""

_APPROVALS: Final = frozenset(
    bytes(keccak(text=text)[:4]) for text in ("approve(address,uint256)", "setApprovalForAll(address,bool)")
)


@dataclass(frozen=True, slots=True)
class Step:
    """A transaction that would be sent. `gas` is its limit, None where it couldn't be simulated."""

    label: str
    call: Call
    gas: int | None


class Rehearsed(Exception):
    """A command has come to its transaction, in a dry run: this is how it would go. No failure."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = tuple(steps)
        super().__init__(f"{len(self.steps)} transactions rehearsed")


class DrySender(Sender):
    """Simulates instead of sending. The first transaction that isn't an approval ends the command."""

    def __init__(self, chain: Chain, account: Signer) -> None:
        super().__init__(chain, account, InMemoryJournal())
        self._waiting: list[tuple[str, Call]] = []

    def send(self, call: ContractFunction | Call, *, label: str, value: int = 0) -> TxReceipt:
        """Raises Rehearsed, or Reverted as it would; an approval waits for what it is for."""
        wanted = call if isinstance(call, Call) else Call.of(call, value)
        self._waiting.append((label, wanted))
        if wanted.data[:4] in _APPROVALS:
            return cast(TxReceipt, {})
        raise Rehearsed(self.steps())

    def steps(self) -> list[Step]:
        """What would be sent so far, each simulated after those before it. Raises Reverted."""
        if not self._waiting:
            return []
        if len(self._waiting) == 1:
            ((label, call),) = self._waiting
            return [Step(label, call, self._check(call))]
        gas = _simulate(self.chain, self.address, [call for _, call in self._waiting])
        if gas is None:
            label, first = self._waiting[0]
            rest = [Step(name, call, None) for name, call in self._waiting[1:]]
            return [Step(label, first, self._check(first)), *rest]
        rows = zip(self._waiting, gas, strict=True)
        return [
            Step(label, call, min(MAX_GAS, used * (100 + GAS_MARGIN_PERCENT) // 100))
            for (label, call), used in rows
        ]


def rehearse(chain: Chain, account: Signer, send: Callable[[Sender], object]) -> None:
    """Simulate what `send` would send, before it sends an approval for nothing. Raises Reverted."""
    with suppress(Rehearsed):
        send(DrySender(chain, account))


def show(context: Context, chain: Chain, sender: str, steps: Sequence[Step]) -> None:
    """Print what a dry run found."""
    price = fees.current(chain)
    now = chain.base_fee() + price.priority_fee
    rows = [_json(chain, step, now, price.max_fee) for step in steps]
    balance = chain.balance(sender)
    most = sum((step.gas or 0) * price.max_fee + step.call.value for step in steps)
    data = {
        "dryRun": True,
        "from": sender,
        "transactions": rows,
        "maxFeePerGas": str(price.max_fee),
        "coin": {"amount": format_units(balance, COIN_DECIMALS), "wei": str(balance)},
        "enoughCoin": balance >= most,
    }
    context.emit(data, lambda console: _show(console, data))


def _simulate(chain: Chain, sender: str, calls: Sequence[Call]) -> list[int] | None:
    """Gas that each call uses after those before it; None if the node has no `eth_simulateV1`."""
    rows = [{key: _hex(value) for key, value in call.params(sender).items()} for call in calls]
    block: dict[str, Any] = {"calls": rows}
    pending = chain.time_of("pending")
    if pending is not None:
        # Some nodes leave the time of a simulated block at zero, and every deadline would seem far away.
        block["blockOverrides"] = {"time": hex(pending)}
    asked = {"blockStateCalls": [block], "validation": False}
    answer: Any = chain.w3.provider.make_request(RPCEndpoint("eth_simulateV1"), [asked, "latest"])
    if (error := error_of(answer)) is not None:
        code = answer["error"].get("code") if isinstance(answer.get("error"), dict) else None
        if code == METHOD_MISSING:
            return None
        raise NodeDeclined(f"the node declines eth_simulateV1: {error}")
    done = answer["result"][0]["calls"]
    for one in done:
        if int(one["status"], 16) != 1:
            data = (one.get("error") or {}).get("data") or one.get("returnData") or "0x"
            raise decode_revert(to_bytes("revert data", data), chain.errors)
    return [int(one["gasUsed"], 16) for one in done]


def _hex(value: object) -> object:
    return hex(value) if isinstance(value, int) else value


def _json(chain: Chain, step: Step, price: int, max_fee: int) -> dict[str, Any]:
    name, function, arguments = _decoded(chain, step.call)
    gas = step.gas
    return {
        "label": step.label,
        "to": step.call.to,
        "contract": name,
        "function": function,
        "arguments": arguments,
        "data": hexed(step.call.data),
        "value": str(step.call.value),
        "gas": None if gas is None else str(gas),
        "cost": None if gas is None else {"now": str(gas * price), "most": str(gas * max_fee)},
    }


def _decoded(chain: Chain, call: Call) -> tuple[str | None, str | None, list[dict[str, Any]]]:
    """Contract, function and arguments by name, as far as the contract is one of ours or a token."""
    known = {address: name for name, address in chain.deployment.contracts.items()}
    name = known.get(call.to)
    for entry in [*(abi(name) if name else []), *ERC20]:
        if entry["type"] != "function" or Signature.of(entry).selector != call.data[:4]:
            continue
        inputs = entry["inputs"]
        values = decode([collapse_if_tuple(item) for item in inputs], call.data[4:])
        found = [
            {"name": item["name"], "value": _plain(item, value)}
            for item, value in zip(inputs, values, strict=True)
        ]
        return name or "token", str(entry["name"]), found
    return name, None, []


def _plain(item: dict[str, Any], value: Any) -> Any:
    """A decoded value as JSON: structs by field, numbers as text."""
    kind = str(item["type"])
    if kind.endswith("[]"):
        return [_plain({**item, "type": kind[:-2]}, one) for one in value]
    if kind == "tuple":
        return {
            field["name"]: _plain(field, one) for field, one in zip(item["components"], value, strict=True)
        }
    if isinstance(value, bytes):
        return hexed(value)
    return value if isinstance(value, (bool, str)) else str(value)


def _show(console: Console, data: dict[str, Any]) -> None:
    wanted = "nothing was sent" if data["transactions"] else "there is nothing to send"
    console.print(f"Dry run: {wanted}.", style="bold yellow")
    for row in data["transactions"]:
        console.print()
        where = f"{row['contract']} {row['to']}" if row["contract"] else row["to"]
        rows = [("would send", clean(row["label"])), ("to", where), ("call", row["function"] or row["data"])]
        rows += [(f"  {one['name']}", clean(_text(one["value"]))) for one in row["arguments"]]
        facts(console, rows + _gas(row))
    if not data["enoughCoin"]:
        console.print()
        console.print(f"{data['from']} has too little coin for the gas.", style="yellow", soft_wrap=True)


def _gas(row: dict[str, Any]) -> list[tuple[str, str]]:
    if row["gas"] is None:
        return [("gas", "unknown: this node can't simulate what follows an approval")]
    now, most = (format_units(int(row["cost"][name]), COIN_DECIMALS) for name in ("now", "most"))
    return [("gas", f"at most {row['gas']}"), ("cost", f"{now} coin at today's fee, at most {most}")]


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return str(value)
