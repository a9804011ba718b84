"""`scrip watcher`: sets of watchers, and what they attest of a provider's capacity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scrip.cli.acting import Act, event, report, send
from scrip.cli.context import Context
from scrip.cli.group import command, sub_app
from scrip.cli.output import facts, hexed, table, utc

if TYPE_CHECKING:
    from scrip.chain import Chain
    from scrip.types import Capacity, WatcherSet
    from scrip.view import ChainView

app = sub_app("Watchers: who co-signs receipts, and what they attest.", example="scrip watcher list")

SetId = Annotated[int, typer.Argument(metavar="SET", min=1, help="Id of the watcher set.")]
Members = Annotated[list[str], typer.Argument(metavar="WATCHER...", help="Addresses, in any order.")]
Threshold = Annotated[int, typer.Option(min=1, help="How many of them must sign.")]
CapacityFile = Annotated[Path, typer.Argument(metavar="FILE", help="File with the statement.")]


@command(app, "list", example="scrip watcher list")
def list_sets(ctx: typer.Context) -> None:
    """List the watcher sets in force, and the classes that use each."""
    context = Context.of(ctx)
    view = context.chain().at()
    found = [one for one in map(lambda number: _active(view, number), _ids(view)) if one is not None]
    used: dict[int, list[str]] = {}
    for class_id in view.class_ids():
        terms = view.class_terms(class_id)
        for one in {terms.watcher_set, terms.arbiter_set}:
            used.setdefault(one, []).append(str(class_id))
    data = [{**_json(one), "classes": used.get(one.set_id, [])} for one in found]

    def show(console: Any) -> None:
        made = table("set", "must sign", "of", "classes", right=("set", "must sign", "of"))
        for row in data:
            made.add_row(
                row["set"], str(row["threshold"]), str(len(row["watchers"])), ", ".join(row["classes"])
            )
        console.print(made)

    context.emit({"block": view.block, "sets": data}, show)


@command(app, "show", example="scrip watcher show 1")
def show_set(ctx: typer.Context, set_id: SetId) -> None:
    """Show the members of a watcher set and how many of them must sign."""
    context = Context.of(ctx)
    view = context.chain().at()
    found = view.watcher_set(set_id)
    rows = [("set", str(set_id)), ("must sign", f"{found.threshold} of {len(found.watchers)}")]
    rows += [("watcher", one) for one in found.watchers]
    context.emit({"block": view.block, **_json(found)}, lambda console: facts(console, rows))


@command(
    app,
    "propose",
    example="scrip --keystore key.json watcher propose $ACCOUNT $ORACLE --threshold 2",
    sends=True,
)
def propose(
    ctx: typer.Context,
    members: Members,
    threshold: Threshold,
    set_id: Annotated[int, typer.Option("--set", min=0, help="Set to change; by default a new one.")] = 0,
) -> None:
    """Propose who is in a watcher set. Needs the watcher admin's role; a change takes days to be due."""
    context = Context.of(ctx)
    chain = context.chain()
    arguments = (set_id, _sorted(members), threshold)
    receipt = send(context, chain, Act("ReceiptVerifier", "proposeSet", arguments, "propose-set"))
    found = event(chain, receipt, "ReceiptVerifier", "SetProposed")
    due = int(found["activatableAt"])
    rows = [
        ("set", str(found["setId"])),
        ("due", utc(due)),
        ("next", "scrip watcher activate, with the same members"),
    ]
    report(context, receipt, {"set": str(found["setId"]), "activatableAt": str(due)}, rows)


@command(
    app,
    "activate",
    example="scrip --keystore key.json watcher activate 2 $ACCOUNT $ORACLE --threshold 2",
    sends=True,
)
def activate(ctx: typer.Context, set_id: SetId, members: Members, threshold: Threshold) -> None:
    """Put a proposal that is due into force. Anyone may; members and threshold must be the proposed ones."""
    context = Context.of(ctx)
    chain = context.chain()
    arguments = (set_id, _sorted(members), threshold)
    receipt = send(context, chain, Act("ReceiptVerifier", "activateSet", arguments, f"activate-set {set_id}"))
    found = chain.at().watcher_set(set_id)
    rows = [("set", str(set_id)), ("must sign", f"{found.threshold} of {len(found.watchers)}")]
    report(context, receipt, _json(found), rows)


@command(app, "capacity", example="scrip watcher capacity $PROVIDER test-cpu 1")
def capacity(
    ctx: typer.Context,
    provider: Annotated[str, typer.Argument(help="The provider's address.")],
    sku: Annotated[str, typer.Argument(help="Label of the SKU.")],
    set_id: SetId,
) -> None:
    """Show what a watcher set has attested that a provider can deliver of a SKU."""
    from scrip.structs import to_address
    from scrip.types import sku_id

    context = Context.of(ctx)
    view = context.chain().at()
    who = to_address("PROVIDER", provider)
    count, until, seen = view.read("ProviderRegistry", "capacityOf", who, sku_id(sku), set_id)
    data = {
        "provider": who,
        "sku": sku,
        "set": str(set_id),
        "count": count,
        "until": str(until),
        "observedAt": str(seen),
    }
    rows = [("provider", who), ("attested", f"{count} side by side" if seen else "nothing yet")]
    rows += [("until", utc(until)), ("observed", utc(seen))] if seen else []
    context.emit(data, lambda console: facts(console, rows))


@command(
    app,
    "sign-capacity",
    example=(
        "scrip --keystore key.json watcher sign-capacity capacity.json --provider $PROVIDER --sku test-cpu "
        "--set 1 --count 8 --until 7d"
    ),
)
def sign_capacity(
    ctx: typer.Context,
    file: CapacityFile,
    provider: Annotated[str | None, typer.Option(metavar="ADDRESS", help="The provider.")] = None,
    sku: Annotated[str | None, typer.Option(help="Label of the SKU.")] = None,
    set_id: Annotated[int | None, typer.Option("--set", min=1, help="Your watcher set.")] = None,
    count: Annotated[int | None, typer.Option(min=0, help="How many work side by side.")] = None,
    until: Annotated[str | None, typer.Option(help="So long (7d), or until a date.")] = None,
) -> None:
    """Sign what a provider can deliver, as a watcher. With a FILE that exists, add your signature to it.

    Sign only what you have measured yourself.
    """
    from scrip.cli import signed_files
    from scrip.eip712 import sign
    from scrip.errors import Refused

    context = Context.of(ctx)
    chain = context.chain()
    given = (provider, sku, set_id, count, until)
    said, signed = _statement(chain, file) if file.exists() else (_capacity(chain, *given), {})
    account = context.account(chain.chain_id)
    if not chain.at().read("ReceiptVerifier", "isWatcher", said.watcher_set, account.address):
        raise Refused(f"{account.address} isn't in watcher set {said.watcher_set}. See: scrip watcher show")
    signature = sign(_digest(chain, said), account)
    signers = signed_files.add(file, "capacity", said.to_json(), signed, account.address, signature)
    data = {"capacity": said.to_json(), "signers": signers, "file": str(file)}
    rows = [("provider", said.provider), ("count", str(said.count)), ("until", utc(said.until))]
    rows += [("signed by", one) for one in signers]
    context.emit(data, lambda console: facts(console, rows))


@command(
    app,
    "attest-capacity",
    example="scrip --keystore key.json watcher attest-capacity capacity.json",
    sends=True,
)
def attest_capacity(ctx: typer.Context, file: CapacityFile) -> None:
    """Record on chain what enough watchers have signed. Anyone may send it."""
    context = Context.of(ctx)
    chain = context.chain()
    said, signed = _statement(chain, file)
    need = chain.at().watcher_set(said.watcher_set).threshold
    arguments = (*said.to_abi(), list(signed.values()))
    act = Act("ProviderRegistry", "attestCapacity", arguments, f"attest-capacity of {said.provider}")
    receipt = send(context, chain, act)
    rows = [("provider", said.provider), ("sku", hexed(said.sku)), ("count", str(said.count)),
            ("until", utc(said.until)), ("signatures", f"{len(signed)}, {need} needed")]  # fmt: skip
    report(context, receipt, {"capacity": said.to_json(), "signers": list(signed)}, rows)


def _ids(view: ChainView) -> range:
    return range(1, int(view.read("ReceiptVerifier", "setCount")) + 1)


def _active(view: ChainView, set_id: int) -> WatcherSet | None:
    """A set, None while it is only proposed."""
    from scrip.errors import NotFound

    try:
        return view.watcher_set(set_id)
    except NotFound:
        return None


def _json(found: WatcherSet) -> dict[str, Any]:
    return {"set": str(found.set_id), "threshold": found.threshold, "watchers": list(found.watchers)}


def _sorted(members: list[str]) -> list[str]:
    from scrip.structs import to_address

    return sorted((to_address("WATCHER", one) for one in members), key=lambda one: int(one, 16))


def _capacity(
    chain: Chain,
    provider: str | None,
    sku: str | None,
    set_id: int | None,
    count: int | None,
    until: str | None,
) -> Capacity:
    from scrip.cli import moments
    from scrip.errors import BadInput
    from scrip.structs import to_address
    from scrip.types import Capacity, sku_id

    if provider is None or sku is None or set_id is None or count is None or until is None:
        raise BadInput(
            "sign-capacity", "a new FILE", "given all of --provider, --sku, --set, --count, --until"
        )
    now = chain.at().time()
    ends = moments.until("--until", until, now)
    return Capacity(to_address("--provider", provider), sku_id(sku), set_id, count, ends, now)


def _statement(chain: Chain, file: Path) -> tuple[Capacity, dict[str, bytes]]:
    from scrip.cli import signed_files
    from scrip.types import Capacity

    data = signed_files.read(file, "capacity")
    said = Capacity.from_json(data["capacity"])
    return said, signed_files.signatures(data, _digest(chain, said))


def _digest(chain: Chain, said: Capacity) -> bytes:
    from scrip.eip712_watchers import capacity_digest

    return capacity_digest(said, chain.chain_id, chain.address("ProviderRegistry"))
