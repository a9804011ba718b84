"""Eligibility contracts of classes: who may hold a class and why, and how that is given and taken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from scrip.calls import Call, signature
from scrip.chain import Chain
from scrip.errors import ChainError, NodeUnavailable, Refused
from scrip.identity import eas
from scrip.identity.eas import Attested, ask
from scrip.logs import scan
from scrip.sender import Sender
from scrip.structs import ZERO_ADDRESS, ZERO_BYTES32, to_address
from scrip.view import ChainView

ATTESTATION, LIST = "AttestationEligibility", "AllowListEligibility"


@dataclass(frozen=True, slots=True)
class Gate:
    """The contract that a class asks who may hold it. `authority` is the attester, or the list's owner.

    Of a contract that is neither ours `kind` is "other", and it is for its maker to say who decides.
    """

    kind: Literal["attestation", "list", "other"]
    address: str
    authority: str = ZERO_ADDRESS
    eas: str = ZERO_ADDRESS
    schema: bytes = ZERO_BYTES32


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether an account may receive a class, and why. `until` is unix seconds, 0 for no end."""

    eligible: bool
    why: str
    until: int = 0


def gate_of(view: ChainView, class_id: int) -> Gate | None:
    """The gate of a class, None if anyone may hold it. Raises NotFound."""
    at = view.class_terms(class_id).eligibility
    if at == ZERO_ADDRESS:
        return None
    service = _maybe(view, at, ATTESTATION, "EAS")
    if service is not None:
        attester = str(ask(view, at, signature(ATTESTATION, "ATTESTER")))
        schema = bytes(ask(view, at, signature(ATTESTATION, "SCHEMA")))
        return Gate("attestation", at, to_address("attester", attester), to_address("eas", service), schema)
    owner = _maybe(view, at, LIST, "owner")
    return Gate("other", at) if owner is None else Gate("list", at, to_address("owner", owner))


def need_gate(view: ChainView, class_id: int) -> Gate:
    """The gate of a class that accounts can be let through. Raises Refused, NotFound."""
    gate = gate_of(view, class_id)
    if gate is None:
        raise Refused(f"class {class_id} names no eligibility contract: anyone may hold it")
    if gate.kind == "other":
        raise Refused(f"{gate.address} is neither {ATTESTATION} nor {LIST}: ask who runs it")
    return gate


def check(view: ChainView, account: str, class_id: int) -> Answer:
    """Whether an account may receive credits of a class, as the class's contract answers. Raises NotFound."""
    gate = gate_of(view, class_id)
    if gate is None:
        return Answer(True, "the class is open to anyone")
    eligible = bool(ask(view, gate.address, signature(LIST, "isEligible"), account, class_id))
    if gate.kind == "attestation":
        return _attested(view, gate, account, eligible)
    if gate.kind == "list":
        why = "on the list" if eligible else f"not on the list; its owner is {gate.authority}"
        return Answer(eligible, why)
    return Answer(eligible, f"{gate.address} says so")


def _attested(view: ChainView, gate: Gate, account: str, eligible: bool) -> Answer:
    found, now = registered(view, gate, account), view.time()
    if found is None:
        return Answer(eligible, f"no attestation is registered; the attester is {gate.authority}")
    name = f"attestation 0x{found.uid.hex()}"
    if found.revoked:
        return Answer(eligible, f"{name} was revoked at {found.revoked} (unix seconds)")
    if found.expired(now):
        return Answer(eligible, f"{name} expired at {found.expires} (unix seconds)", found.expires)
    return Answer(eligible, f"{name} by {gate.authority} holds", found.expires)


def registered(view: ChainView, gate: Gate, account: str) -> Attested | None:
    """The attestation that is registered for an account, whether or not it holds."""
    uid = bytes(ask(view, gate.address, signature(ATTESTATION, "uidOf"), account))
    return None if uid == ZERO_BYTES32 else eas.attestation(view, gate.eas, uid)


def issue(
    chain: Chain,
    sender: Sender,
    gate: Gate,
    account: str,
    *,
    expires: int = 0,
    credential: bytes = ZERO_BYTES32,
) -> None:
    """Make an account eligible until `expires` (unix seconds, 0 for good; a list knows no end).

    Sends nothing that is done already, so it can be run again after a kill. Raises Refused, as `Sender.send`.
    """
    _check_authority(sender, gate)
    if gate.kind == "list":
        if not bool(ask(chain.at(), gate.address, signature(LIST, "isEligible"), account, 0)):
            _set(sender, gate, account, True)
        return
    view = chain.at()
    now, wanted = view.time(), expires or 1 << 64
    if wanted <= now:
        raise Refused(f"an attestation until {expires} would be over now, at {now} (unix seconds)")
    current = registered(view, gate, account)
    if current is not None and current.holds(now) and current.end >= wanted:
        return
    uid = next((one.uid for one in valid(view, gate, account) if one.end == wanted), None)
    if uid is None:
        eas.ensure_schema(chain, sender, gate.eas, gate.schema)
        uid = eas.attest(chain, sender, gate.eas, gate.schema, account, expires, credential)
    call = Call(gate.address, signature(ATTESTATION, "register").encode([account, uid]))
    sender.send(call, label=f"register attestation 0x{uid.hex()}")


def revoke(chain: Chain, sender: Sender, gate: Gate, account: str) -> int:
    """End an account's eligibility; how many transactions that took.

    Every attestation that still holds is revoked: anyone could register another one. Raises as `issue`.
    """
    _check_authority(sender, gate)
    view = chain.at()
    if gate.kind == "list":
        if not bool(ask(view, gate.address, signature(LIST, "isEligible"), account, 0)):
            return 0
        _set(sender, gate, account, False)
        return 1
    found = valid(view, gate, account)
    for one in found:
        eas.revoke(sender, gate.eas, one)
    return len(found)


def valid(view: ChainView, gate: Gate, account: str) -> list[Attested]:
    """Attestations of an account that hold, whether or not they are registered.

    Those since the deployment's first block, and the registered one.
    """
    found = {one.uid: one for one in eas.attestations(view, gate.eas, account, gate.authority, gate.schema)}
    current = registered(view, gate, account)
    if current is not None:
        found[current.uid] = current
    now = view.time()
    return [one for one in found.values() if one.holds(now)]


def listed(view: ChainView, gate: Gate, class_id: int) -> Iterator[tuple[str, Answer]]:
    """Accounts that were ever let through, in the order they first were, with what holds now."""
    contract, event = (
        (LIST, "EligibilitySet") if gate.kind == "list" else (ATTESTATION, "AttestationRegistered")
    )
    chain = view.chain
    entry = chain.w3.eth.contract(address=gate.address, abi=_abi(contract))  # type: ignore[call-overload]
    known = dict.fromkeys(
        str(found.args["account"]) for found in scan(chain, entry, event, chain.deployment.block, view.block)
    )
    for account in known:
        yield account, check(view, account, class_id)


def _abi(contract: str) -> list[dict[str, object]]:
    from scrip.abi import abi

    return abi(contract)


def _check_authority(sender: Sender, gate: Gate) -> None:
    if sender.address != gate.authority:
        who = "attester" if gate.kind == "attestation" else "owner of the list"
        raise Refused(f"only the {who}, {gate.authority}, can do this; the key is {sender.address}'s")


def _set(sender: Sender, gate: Gate, account: str, eligible: bool) -> None:
    call = Call(gate.address, signature(LIST, "set").encode([[account], eligible]))
    sender.send(call, label=f"{'list' if eligible else 'unlist'} {account}")


def _maybe(view: ChainView, at: str, contract: str, function: str) -> str | None:
    """What a contract answers that may not have the function."""
    try:
        return str(ask(view, at, signature(contract, function)))
    except NodeUnavailable:
        raise
    except ChainError:
        return None
