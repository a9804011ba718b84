"""The edges of the market in memory: the agent's sender, and the providers' HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scrip.eip712 import acceptance_digest, sign
from scrip.errors import NodeUnavailable, NotFound, Refused, Reverted, TxLost, TxRejected, TxUnknown
from scrip.evidence import Bundle
from scrip.journal import TxOutcome
from scrip.provider_client import Offer, ProviderUnreachable
from scrip.sender import Reconciled
from scrip.spec import JobSpec, spec_hash
from scrip.types import JobTerms, ProviderInfo
from tests.unit.agent_parties import AGENT, Kill
from tests.unit.agent_world import Tx, World
from tests.unit.evidence_factory import CHAIN_ID, MARKET, change, make_bundle


class SimSender:
    """The account's sender. Its journal is the world's, which survives the process."""

    def __init__(self, world: World) -> None:
        self.world, self.address = world, AGENT.address
        self._reconciled = False

    def send(self, call: Any, *, label: str, value: int = 0) -> Any:
        world = self.world
        if not self._reconciled:
            self.reconcile()
        world.step()
        fate = world.sends.pop(0) if world.sends else "mined"
        if fate == "node":
            raise NodeUnavailable("sim", "Timeout")
        if fate == "rejected":
            raise TxRejected(label, "insufficient funds")
        if fate == "kill before":
            raise Kill
        world.note_purchase(call)
        self._in_order()
        tx = Tx(world.next_nonce, label, call, doomed=fate.endswith("lost"))
        world.next_nonce += 1
        if fate.startswith(("unknown", "kill pending")):
            world.pending.append(tx)
            if fate.startswith("kill"):
                raise Kill
            raise TxUnknown(label, tx.nonce, [bytes(32)])
        if fate == "reverts":
            raise Reverted("Unknown", {}, b"\x01" * 32)
        found = self._run(call)
        if fate == "kill after":
            raise Kill
        return {"logs": found, "transactionHash": b"\x07" * 32, "status": 1}

    def reconcile(self) -> list[Reconciled]:
        self.world.step()
        self._reconciled = True
        return [Reconciled(tx.label, tx.nonce, TxOutcome.PENDING, ()) for tx in self.world.pending]

    def follow(self, nonce: int) -> Any:
        self.world.step()
        tx = next((item for item in self.world.pending if item.nonce == nonce), None)
        if tx is None:
            raise NotFound("open transaction with nonce", nonce)
        if self.world.sends and self.world.sends[0] == "unknown":
            self.world.sends.pop(0)
            raise TxUnknown(tx.label, nonce, [bytes(32)])
        self.world.pending.remove(tx)
        if tx.doomed:
            raise TxLost(tx.label, nonce, [bytes(32)])
        return {"logs": self._run(tx.call), "transactionHash": b"\x07" * 32, "status": 1}

    def _in_order(self) -> None:
        """A later nonce is mined after those before it."""
        for tx in list(self.world.pending):
            self.world.pending.remove(tx)
            if not tx.doomed:
                try:
                    self._run(tx.call)
                except Reverted:
                    continue

    def _run(self, call: Any) -> Any:
        try:
            return self.world.execute(call)
        except Reverted as error:
            self.world.refusals += error.name.startswith("SpendingBudgets_")
            raise


class SimClient:
    """HTTP of one provider."""

    def __init__(self, world: World, endpoint: str) -> None:
        self.world, self.provider = world, world.by_address(endpoint)

    def __enter__(self) -> SimClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def put_spec(self, spec: JobSpec) -> bytes:
        self._up()
        if self.provider.quote == "refused":
            raise Refused("never")
        return spec_hash(spec)

    def quote(self, terms: JobTerms, spec: JobSpec) -> bytes:
        self._up()
        self.world.specs[terms.spec_hash] = dict(spec.params)
        if self.provider.quote in ("refused", "full"):
            raise Refused("no place")
        signer = AGENT if self.provider.quote == "forged" else self.provider.key
        return sign(acceptance_digest(self.world.id_of(terms), CHAIN_ID, MARKET), signer)

    def bundle(self, job: bytes) -> Bundle:
        self._up()
        found = self.world.jobs[job].bundle
        assert found is not None
        return _shown(self.world, self.provider.evidence, found)

    def _up(self) -> None:
        self.world.step()
        if not self.provider.reachable:
            raise ProviderUnreachable("http://p", "refused")


def _shown(world: World, how: str, real: Bundle) -> Bundle:
    """What a provider shows as the evidence of a job that was settled as in `real`."""
    if how == "missing":
        raise NotFound("resource", "evidence")
    if how == "kept back":
        raise Refused("not for you")
    if how == "garbled":
        return Bundle.decode(b"{}")
    if how == "other output":
        return replace(real, output=b"Something else.")
    if how == "other receipt":
        return make_bundle(terms=real.terms, spec=real.spec, output=b"Something else.")
    if how == "other job":
        others = [job.bundle for job in world.jobs.values() if job.bundle and job.bundle != real]
        return others[0] if others else replace(real, nonce=1)
    if how == "other samples":
        return replace(real, samples=change(real.samples, 1, value=5))
    return real


def discovered(world: World, info: ProviderInfo) -> Offer:
    """A provider's registration file."""
    world.step()
    provider = world.by_address(info.address)
    if not provider.reachable:
        raise ProviderUnreachable("http://p", "refused")
    details = {"llm.generate": {"name": "llm.generate", "seconds": provider.said_seconds}}
    return Offer("p", info.address, ("llm.generate",), False, details)
