"""The receipt of a whole pipeline: one Merkle tree over the receipts of its stages. PURE.

Leaf 0 is the pipeline itself (chain, market, plan, payer), then one leaf a settled stage in the plan's order.
A leaf's link is keccak256 of its canonical JSON (`scrip.spec.canonical_json`), the tree is that of
`scrip.merkle`. Each stage's leaf has the terms of its job, whose hash is the job's id, its receipt, whose
hash is on chain, and the output hashes of the stages it took its input from: so the tree shows which output
went where, and every figure in it can be checked against the chain (`agents.pipeline.verify`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from eth_utils.crypto import keccak

from scrip.eip712 import job_id, receipt_struct_hash
from scrip.errors import BadInput, EvidenceInvalid
from scrip.evidence import Check
from scrip.merkle import merkle_proof, merkle_root, verify_proof
from scrip.samples import members, require
from scrip.spec import canonical_json
from scrip.structs import to_address, to_bytes, to_int
from scrip.types import JobTerms, Outcome, Receipt

VERSION: Final = 1
MAX_BYTES: Final = 4 * 2**20
MOST_LEAVES: Final = 65

_FILE: Final = ("version", "root", "pipeline", "proof", "stages")
_PIPELINE: Final = ("name", "chainId", "market", "plan", "payer", "stages")
_STAGE: Final = ("stage", "jobId", "terms", "receipt", "receiptHash", "outputHash", "inputs", "units", "cost")


@dataclass(frozen=True, slots=True)
class StageLeaf:
    """A settled stage. `inputs` are (stage, output hash) of those whose output it took.

    `units` are base units settled, `cost` their price in payment-token base units, rounded up.
    """

    stage: str
    terms: JobTerms
    receipt: Receipt
    inputs: tuple[tuple[str, bytes], ...]
    units: int
    cost: int

    def to_json(self, chain_id: int, market: str) -> dict[str, Any]:
        """Plain JSON object, the one that is hashed."""
        return {
            "stage": self.stage,
            "jobId": _hex(job_id(self.terms, chain_id, market)),
            "terms": self.terms.to_json(),
            "receipt": self.receipt.to_json(),
            "receiptHash": _hex(receipt_struct_hash(self.receipt)),
            "outputHash": _hex(self.receipt.output_hash),
            "inputs": [{"stage": stage, "outputHash": _hex(output)} for stage, output in self.inputs],
            "units": str(self.units),
            "cost": str(self.cost),
        }

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Inverse of `to_json`; what it derives is compared by the tree. Raises BadInput, EvidenceInvalid."""
        got = members(data, _STAGE, "tree.format")
        rows = got["inputs"]
        if not isinstance(rows, list) or len(rows) > MOST_LEAVES:
            raise BadInput("inputs", type(rows).__name__, f"a list of at most {MOST_LEAVES}")
        links = [members(row, ("stage", "outputHash"), "tree.format") for row in rows]
        return cls(
            stage=_name("stage", got["stage"]),
            terms=JobTerms.from_json(got["terms"]),
            receipt=Receipt.from_json(got["receipt"]),
            inputs=tuple(
                (_name("input", row["stage"]), to_bytes("outputHash", row["outputHash"], 32)) for row in links
            ),
            units=_decimal("units", got["units"]),
            cost=_decimal("cost", got["cost"]),
        )


@dataclass(frozen=True, slots=True)
class ReceiptTree:
    """The receipts of a pipeline. `plan` is the hash of the plan and of the texts given for it.

    `planned` is how many stages the plan has: fewer leaves mean that stages failed or were skipped.
    """

    name: str
    chain_id: int
    market: str
    plan: bytes
    payer: str
    planned: int
    stages: tuple[StageLeaf, ...]

    @property
    def root(self) -> bytes:
        """Root over the pipeline and its stages."""
        return merkle_root(self._links())

    @property
    def cost(self) -> int:
        """Price of everything that was used, payment-token base units."""
        return sum(leaf.cost for leaf in self.stages)

    def to_json(self) -> dict[str, Any]:
        """JSON object with a proof for each leaf: integers of the chain as decimal text, bytes as 0x hex."""
        links = self._links()
        proofs = [[_hex(node) for node in merkle_proof(links, at)] for at in range(len(links))]
        rows = [leaf.to_json(self.chain_id, self.market) for leaf in self.stages]
        return {
            "version": VERSION,
            "root": _hex(self.root),
            "pipeline": self._header(),
            "proof": proofs[0],
            "stages": [row | {"proof": proof} for row, proof in zip(rows, proofs[1:], strict=True)],
        }

    def encode(self) -> str:
        """Text of the file."""
        return json.dumps(self.to_json(), indent=1, sort_keys=True) + "\n"

    @classmethod
    def decode(cls, raw: bytes) -> tuple[Self, bytes]:
        """The tree in a file and the root that the file states; every proof of it leads there.

        Raises EvidenceInvalid("tree.format"), ("tree.root"), ("tree.proof").
        """
        require(len(raw) <= MAX_BYTES, "tree.format", f"{len(raw)} bytes, at most {MAX_BYTES}")
        try:
            data = json.loads(raw.decode("utf-8"))
            tree, root, proofs = cls._parse(data)
        except (ValueError, RecursionError) as error:
            raise EvidenceInvalid("tree.format", f"not JSON: {error!s:.200}") from error
        except BadInput as error:
            raise EvidenceInvalid("tree.format", str(error)) from error
        links = tree._links()
        for at, (link, proof) in enumerate(zip(links, proofs, strict=True)):
            where = tree.stages[at - 1].stage if at else "the pipeline"
            found = verify_proof(root, link, at, len(links), proof)
            require(found, "tree.proof", f"the proof of {where} doesn't lead to 0x{root.hex()}")
        require(tree.root == root, "tree.root", f"the leaves give 0x{tree.root.hex()}, the file says another")
        require(
            tree.to_json() == data,
            "tree.format",
            "a value isn't what the leaf gives, or not in canonical form",
        )
        return tree, root

    @classmethod
    def _parse(cls, data: object) -> tuple[Self, bytes, list[list[bytes]]]:
        got = members(data, _FILE, "tree.format")
        known = got["version"] == VERSION and type(got["version"]) is int
        require(known, "tree.format", f"version {got['version']!r:.40}, this verifier knows {VERSION}")
        head = members(got["pipeline"], _PIPELINE, "tree.format")
        rows = got["stages"]
        if not isinstance(rows, list) or len(rows) >= MOST_LEAVES:
            raise BadInput("stages", type(rows).__name__, f"a list of fewer than {MOST_LEAVES}")
        split = [members(row, (*_STAGE, "proof"), "tree.format") for row in rows]
        proofs = [_proof(got["proof"]), *(_proof(row.pop("proof")) for row in split)]
        tree = cls(
            name=_name("name", head["name"]),
            chain_id=_decimal("chainId", head["chainId"]),
            market=to_address("market", head["market"]),
            plan=to_bytes("plan", head["plan"], 32),
            payer=to_address("payer", head["payer"]),
            planned=to_int("stages", head["stages"], 32),
            stages=tuple(StageLeaf.from_json(row) for row in split),
        )
        return tree, to_bytes("root", got["root"], 32), proofs

    def _header(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "chainId": str(self.chain_id),
            "market": self.market,
            "plan": _hex(self.plan),
            "payer": self.payer,
            "stages": self.planned,
        }

    def _links(self) -> list[bytes]:
        leaves = [self._header(), *(leaf.to_json(self.chain_id, self.market) for leaf in self.stages)]
        return [bytes(keccak(canonical_json(leaf))) for leaf in leaves]


def checks(tree: ReceiptTree, root: bytes) -> list[Check]:
    """What the file shows by itself: the links between stages, and receipts that belong to their jobs.

    Raises EvidenceInvalid.
    """
    names = [leaf.stage for leaf in tree.stages]
    require(len(set(names)) == len(names) <= tree.planned, "tree.stages", f"{names} of {tree.planned} stages")
    jobs = {job_id(leaf.terms, tree.chain_id, tree.market) for leaf in tree.stages}
    require(len(jobs) == len(names), "tree.stages", "two stages share a job")
    outputs: dict[str, bytes] = {}
    for leaf in tree.stages:
        _check_leaf(tree, leaf, outputs)
        outputs[leaf.stage] = leaf.receipt.output_hash
    return [
        Check("tree.root", f"0x{root.hex()} over {len(names)} of {tree.planned} stages"),
        Check(
            "tree.links", f"{sum(len(leaf.inputs) for leaf in tree.stages)} inputs are the outputs they name"
        ),
    ]


def _check_leaf(tree: ReceiptTree, leaf: StageLeaf, outputs: Mapping[str, bytes]) -> None:
    job = job_id(leaf.terms, tree.chain_id, tree.market)
    ours = leaf.receipt.job_id == job
    require(ours, "tree.receipt", f"stage {leaf.stage}: its receipt is of job 0x{leaf.receipt.job_id.hex()}")
    completed = leaf.receipt.outcome is Outcome.COMPLETED
    require(completed, "tree.receipt", f"stage {leaf.stage}: its job didn't complete")
    paid = leaf.units <= leaf.receipt.units <= leaf.terms.max_units
    require(
        paid, "tree.units", f"stage {leaf.stage}: {leaf.units} units, the receipt has {leaf.receipt.units}"
    )
    same = leaf.terms.payer == tree.payer
    require(same, "tree.payer", f"stage {leaf.stage} was paid by {leaf.terms.payer}, not {tree.payer}")
    for stage, output in leaf.inputs:
        found = outputs.get(stage)
        known = "no stage before it" if found is None else f"0x{found.hex()}"
        detail = f"stage {leaf.stage} took 0x{output.hex()} from {stage}, which gave {known}"
        require(found == output, "tree.links", detail)


def _proof(value: object) -> list[bytes]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > 16:
        raise BadInput("proof", type(value).__name__, "a list of hashes")
    return [to_bytes("proof", node, 32) for node in value]


def _name(field: str, value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 64:
        raise BadInput(field, value, "a name")
    return value


def _decimal(field: str, value: object) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit() or len(value) > 78:
        raise BadInput(field, value, "a decimal string")
    return int(value)


def _hex(raw: bytes) -> str:
    return "0x" + raw.hex()
