"""The watcher's HTTP API: honest receipts are co-signed, forgeries refused by their check, votes stay sealed
until others have committed, and nothing is signed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from oracle.host import named_platform
from oracle.sampling import Budget, Risk
from oracle.settings import WatcherSettings
from scrip.ballots import Equivocation, SignedCommitment, SignedReveal, findings_hash, opens, seal_of
from scrip.eip712 import batch_digest, receipt_digest, receipt_struct_hash, recover, sign
from scrip.eip712_watchers import commitment_digest
from scrip.types import Commitment, Status
from tests.unit.evidence_factory import SKU, STATE, TOKEN_SAMPLES
from tests.unit.oracle_market import CHAIN_ID, VERIFIER
from tests.unit.verify_factory import CATALOGUE, honest, matmul, signed, tokens
from tests.unit.watcher_bench import WATCHERS, Bench, FakeExecutor, check_of, renamed

T = tokens()
URL = "http://provider.test:8800/jobs/x/evidence"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(tmp_path, monkeypatch)
    yield made
    made.close()


@pytest.fixture
def trio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Three watchers of whom two must sign."""
    made = Bench(tmp_path, monkeypatch, watchers=3, threshold=2)
    yield made
    made.close()


def serving(bench: Bench, raw: bytes) -> Any:
    """The answer when the provider serves `raw` as evidence of the honest receipt."""
    row = bench.row(T)
    bench.bundles[row["bundle"]] = raw
    return bench.ballot(bench.body(row))[0]


def committed(bench: Bench, node: int, body: Any) -> Any:
    answer = bench.nodes[node].api().post("/commitments", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


# Reviewing


def test_vote__honest_receipt__is_signed_after_running_it_again(bench: Bench) -> None:
    answer = bench.ask().json()
    message = receipt_digest(T.receipt, CHAIN_ID, VERIFIER)
    assert recover(message, bytes.fromhex(answer["cosignature"][2:])) == WATCHERS[0].address
    assert bench.nodes[0].executor.runs == 1
    [row] = answer["findings"]["rows"]
    assert row["checks"][-1]["name"] == "output.recompute"
    assert T.receipt.output_hash.hex() in row["checks"][-1]["detail"]


def test_vote__asked_again_and_after_a_restart__gives_the_same_answer_without_work(bench: Bench) -> None:
    first, second = bench.ask(), bench.ask()
    assert first.json() == second.json()
    assert (len(bench.fetched), bench.nodes[0].executor.runs) == (1, 1)


@pytest.mark.parametrize(
    ("forge", "check"),
    [
        (lambda b: b.replace(b'"value":2700000', b'"value":2700001'), "evidence.root"),
        (lambda b: b.replace(b'"nonce":"', b'"nonce":"1'), "bundle.nonce"),
        (lambda b: b[:-1], "bundle.format"),
        (lambda _: b"[]", "bundle.format"),
    ],
)
def test_vote__tampered_bundle__is_refused_with_the_check(bench: Bench, forge: Any, check: str) -> None:
    answer = serving(bench, forge(T.bundle.encode()))
    assert check_of(answer) == check
    assert answer.json()["cosignature"] is None
    [shown] = bench.nodes[0].api().get("/refusals").json()["refusals"]
    assert (shown["check"], shown["jobId"]) == (check, "0x" + T.receipt.job_id.hex())


def test_refusal__as_published__is_signed_by_its_watcher_and_binds_its_findings(bench: Bench) -> None:
    serving(bench, b"[]")
    [shown] = bench.nodes[0].api().get("/refusals").json()["refusals"]
    statement = shown["statement"]
    told = SignedReveal.from_json({name: statement[name] for name in ("reveal", "signature")})
    assert told.signer(CHAIN_ID, VERIFIER) == WATCHERS[0].address
    assert told.reveal.findings == findings_hash(statement["findings"])
    assert told.reveal.subject == receipt_digest(T.receipt, CHAIN_ID, VERIFIER)
    statement["findings"]["rows"][0]["reason"] = "another"
    assert told.reveal.findings != findings_hash(statement["findings"])


def test_vote__one_token_more_is_refused(bench: Bench) -> None:
    more = replace(T, receipt=replace(T.receipt, output_tokens=T.receipt.output_tokens + 1))
    assert check_of(bench.ask(more)) == "bundle.receipt"


def test_vote__damaged_copy_of_an_honest_bundle__stains_neither_receipt_nor_job(bench: Bench) -> None:
    assert check_of(serving(bench, b"[]")) == "bundle.format"
    assert check_of(serving(bench, b"[]")) == "bundle.format"
    assert bench.nodes[0].executor.runs == 0
    assert check_of(bench.ask()) == ""


def test_vote__another_output_when_run_again__is_refused_for_good(bench: Bench) -> None:
    bench.nodes[0].executor = FakeExecutor(output=b"something else")
    assert check_of(bench.ask()) == "output.recompute"
    bench.nodes[0].executor = FakeExecutor()
    later = signed(T, replace(T.bundle, receipt=replace(T.receipt, ended_at=T.receipt.ended_at + 1)))
    assert check_of(bench.ask(later)) == "receipt.equivocation"


def test_vote__two_receipts_of_one_job__only_the_first_is_ever_signed(bench: Bench) -> None:
    assert check_of(bench.ask()) == ""
    second = signed(T, replace(T.bundle, receipt=replace(T.receipt, ended_at=T.receipt.ended_at + 1)))
    assert check_of(bench.ask(second)) == "receipt.equivocation"
    assert check_of(bench.ask()) == ""


def test_vote__job_not_running_as_our_node_sees__isnt_voted_on_and_may_be_asked_again(bench: Bench) -> None:
    bench.facts.state = replace(STATE, status=Status.OPEN)
    answer = bench.ask()
    assert (answer.status_code, check_of(answer)) == (409, "job.state")
    assert bench.nodes[0].api().get("/refusals").json()["refusals"] == []
    bench.facts.state = STATE
    assert check_of(bench.ask()) == ""


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:22/", "file:///etc/passwd", "https://provider.test:8800/x", "http://provider.test/x"],
)
def test_vote__evidence_elsewhere__is_not_fetched(bench: Bench, url: str) -> None:
    assert check_of(bench.ask(url=url)) == "bundle.origin"
    assert bench.fetched == []


def test_vote__not_signed_by_the_provider__is_not_reviewed(bench: Bench) -> None:
    assert check_of(bench.ask(key=Account.from_key(b"\x09" * 32))) == "receipt.signer"
    assert bench.fetched == []


def test_vote__terms_of_another_job__are_refused_before_anything_is_read(bench: Bench) -> None:
    answer = bench.ask(terms=replace(T.facts.terms, max_units=T.facts.terms.max_units + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_input")
    assert bench.fetched == []


def test_vote__evidence_or_machine_away__is_503_and_no_refusal(bench: Bench) -> None:
    node = bench.nodes[0]
    row = bench.row(T)
    honest = bench.bundles.pop(row["bundle"])
    assert bench.ballot(bench.body(row))[0].status_code == 503
    bench.bundles[row["bundle"]] = honest
    for broken in (FakeExecutor(reason="broken"), FakeExecutor(reason="memory")):
        node.executor = broken
        assert bench.ask().status_code == 503
    node.executor = FakeExecutor()
    assert check_of(bench.ask()) == ""


def test_vote__dry_run__checks_but_never_signs(bench: Bench) -> None:
    bench.nodes[0].key = None
    answer = bench.ask()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "dry_run")


# Platforms


def on_platform(label: str) -> Any:
    """The honest token job, run on a processor with this label."""
    return honest(
        T.facts.class_terms, tuple(named_platform(TOKEN_SAMPLES, label)), T.bundle.spec, T.bundle.output, SKU
    )


def test_vote__another_output_on_another_processor__is_not_judged_and_not_run_twice(bench: Bench) -> None:
    node = bench.nodes[0]
    node.executor = FakeExecutor(output=b"rounded otherwise")
    api = node.api()
    node.api = lambda: api  # type: ignore[method-assign]
    for _ in range(2):
        answer = bench.ask(on_platform("riscv64"))
        assert answer.status_code == 503
        assert "riscv64" in answer.json()["error"]["message"]
    assert node.executor.runs == 1
    assert node.api().get("/refusals").json()["refusals"] == []


def test_vote__same_output_on_another_processor__is_signed(bench: Bench) -> None:
    assert check_of(bench.ask(on_platform("riscv64"))) == ""


def test_vote__another_output_of_a_job_that_is_the_same_everywhere__is_refused(bench: Bench) -> None:
    assert CATALOGUE.template("hash.chain").same_on == "any"
    assert CATALOGUE.template("matmul.int8").same_on == "any"


# Sampling


def test_vote__time_for_running_again_spent__is_503_and_signs_nothing_unchecked(bench: Bench) -> None:
    node = bench.nodes[0]
    node.budget = Budget(1, clock=lambda: 0.0)
    node.budget.charge(1.5)
    answer = bench.ask()
    assert answer.status_code == 503
    assert "1 s an hour" in answer.json()["error"]["message"]
    assert node.executor.runs == 0


def test_vote__stake_behind_the_job__is_run_again_as_often_as_the_odds_say(bench: Bench) -> None:
    node, jobs = bench.nodes[0], 200
    node.settings = WatcherSettings(re_execute_floor_ppm=1)
    bench.facts.stakes = Risk(1_000, 3_000)  # a quarter
    api = node.api()
    node.api = lambda: api  # type: ignore[method-assign]
    skipped = 0
    for salt in range(100, 100 + jobs):
        answer = bench.ask(renamed(T, salt=salt))
        assert check_of(answer) == ""
        detail = answer.json()["findings"]["rows"][0]["checks"][-1]["detail"]
        skipped += detail == "skipped: not in the sample that is run again"
    assert skipped == jobs - node.executor.runs
    assert abs(node.executor.runs - jobs // 4) < 31  # five standard deviations


# Rounds


def test_reveal__before_others_have_committed__stays_sealed(trio: Bench) -> None:
    body = trio.body(trio.row(T))
    own = committed(trio, 0, body)
    api = trio.nodes[0].api()
    assert trio.reveal(api, own, []).status_code == 425
    assert trio.reveal(api, own, [own]).status_code == 425
    other = committed(trio, 1, body)
    assert trio.reveal(api, own, [other]).status_code == 200


@pytest.mark.parametrize("kind", ["stranger", "copied seal", "another evidence of one watcher"])
def test_reveal__commitments_that_arent_of_others__dont_count(trio: Bench, kind: str) -> None:
    body = trio.body(trio.row(T))
    own = SignedCommitment.from_json(committed(trio, 0, body))
    told, stranger = own.commitment, Account.from_key(b"\x09" * 32)
    wrong = {
        "stranger": by(stranger, replace(told, seal=b"\x01" * 32)),
        "copied seal": by(WATCHERS[1], told),
        "another evidence of one watcher": by(WATCHERS[0], replace(told, evidence=bytes(32))),
    }[kind]
    assert trio.reveal(trio.nodes[0].api(), own.to_json(), [wrong.to_json()]).status_code == 425


def by(key: Any, commitment: Commitment) -> SignedCommitment:
    return SignedCommitment(commitment, sign(commitment_digest(commitment, CHAIN_ID, VERIFIER), key))


def test_reveal__commitment_to_something_else__is_a_typed_error(trio: Bench) -> None:
    own = SignedCommitment.from_json(committed(trio, 0, trio.body(trio.row(T))))
    other = by(WATCHERS[1], replace(own.commitment, subject=bytes(32)))
    answer = trio.reveal(trio.nodes[0].api(), own.to_json(), [other.to_json()])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_input")


def test_reveal__nothing_committed_to__is_404(trio: Bench) -> None:
    made = by(WATCHERS[0], Commitment(bytes(32), bytes(32), bytes(32)))
    assert trio.reveal(trio.nodes[0].api(), made.to_json(), []).status_code == 404


def test_reveal__opened__is_what_was_committed_to(trio: Bench) -> None:
    body = trio.body(trio.row(T))
    own, other = committed(trio, 0, body), committed(trio, 1, body)
    answer = trio.reveal(trio.nodes[0].api(), own, [other]).json()
    told = SignedReveal.from_json({name: answer[name] for name in ("reveal", "signature")})
    commitment = SignedCommitment.from_json(own).commitment
    assert opens(told.reveal, commitment, WATCHERS[0].address)
    assert seal_of(told.reveal, WATCHERS[1].address) != commitment.seal
    assert findings_hash(answer["findings"]) == told.reveal.findings


def test_refusal__too_few_commit__stays_secret_until_the_time_is_up(trio: Bench) -> None:
    node = trio.nodes[0]
    row = trio.row(T)
    trio.bundles[row["bundle"]] = b"[]"
    own = committed(trio, 0, trio.body(row))
    assert trio.reveal(node.api(), own, []).status_code == 425
    assert node.api().get("/refusals").json()["refusals"] == []
    cast = node.store.now_ms()
    node.store.now_ms = lambda: cast + 121_000  # type: ignore[method-assign]
    assert [one["check"] for one in node.api().get("/refusals").json()["refusals"]] == ["bundle.format"]
    assert check_of(trio.reveal(node.api(), own, [])) == "bundle.format"


def test_passed_vote__too_few_commit__stays_sealed_for_good(trio: Bench) -> None:
    node = trio.nodes[0]
    own, cast = committed(trio, 0, trio.body(trio.row(T))), node.store.now_ms()
    node.store.now_ms = lambda: cast + 10**9  # type: ignore[method-assign]
    assert trio.reveal(node.api(), own, []).status_code == 425


def test_equivocation__two_commitments_of_one_watcher__are_published_with_proof(trio: Bench) -> None:
    api = trio.nodes[0].api()
    own = SignedCommitment.from_json(committed(trio, 0, trio.body(trio.row(T))))
    for seal in (b"\x01" * 32, b"\x02" * 32):
        trio.reveal(api, own.to_json(), [by(WATCHERS[1], replace(own.commitment, seal=seal)).to_json()])
    [shown] = api.get("/equivocations").json()["equivocations"]
    proof = Equivocation.from_json({name: shown[name] for name in ("watcher", "first", "second")})
    assert proof.watcher == WATCHERS[1].address
    assert proof.check(CHAIN_ID, VERIFIER)


# Requests


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"batched": "yes", "rows": []},
        {"batched": "yes", "rows": [], "signature": "0x" + "00" * 65},
        {"batched": False, "rows": [], "signature": "0x" + "00" * 65},
        {"batched": False, "rows": {}, "signature": "0x" + "00" * 65},
        {"batched": True, "rows": [{"bundle": URL}], "signature": "0x" + "00" * 65},
        {"batched": True, "rows": [{"bundle": 5, "receipt": {}, "terms": {}}], "signature": "0x00"},
        {
            "batched": True,
            "rows": [{"bundle": URL, "receipt": {}, "terms": {}}],
            "signature": "0x" + "00" * 65,
        },
    ],
)
def test_commit__malformed__is_a_typed_error(bench: Bench, body: Any) -> None:
    response = bench.nodes[0].api().post("/commitments", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "bad_input")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"subject": "0x00", "evidence": "0x" + "00" * 32, "commitments": []},
        {"subject": "0x" + "00" * 32, "evidence": "0x" + "00" * 32, "commitments": {}},
        {"subject": "0x" + "00" * 32, "evidence": "0x" + "00" * 32, "commitments": [{}]},
        {"subject": "0x" + "00" * 32, "evidence": "0x" + "00" * 32, "commitments": [{}] * 65},
    ],
)
def test_reveal__malformed__is_a_typed_error(bench: Bench, body: Any) -> None:
    response = bench.nodes[0].api().post("/reveals", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (422, "bad_input")


def test_commit__one_job_twice_in_a_batch__is_refused(bench: Bench) -> None:
    row = bench.row(T)
    response = bench.nodes[0].api().post("/commitments", json=bench.body(row, row, batched=True))
    assert response.status_code == 422


def test_commit__jobs_of_two_providers_in_a_batch__are_refused(bench: Bench) -> None:
    other = renamed(T, salt=8, provider=WATCHERS[0].address)
    body = bench.body(bench.row(T), bench.row(other), batched=True)
    assert bench.nodes[0].api().post("/commitments", json=body).status_code == 422


def test_vote__batch__is_signed_as_a_list(bench: Bench) -> None:
    answer = bench.ballot(bench.body(bench.row(T), batched=True))[0]
    message = batch_digest([receipt_struct_hash(T.receipt)], CHAIN_ID, VERIFIER)
    assert recover(message, bytes.fromhex(answer.json()["cosignature"][2:])) == WATCHERS[0].address


def test_vote__batch_with_one_bad_row__says_which_and_signs_nothing(bench: Bench) -> None:
    good, bad = renamed(T, salt=8), bench.row(T)
    bench.bundles[bad["bundle"]] = b"[]"
    answer = bench.ballot(bench.body(bench.row(good), bad, batched=True))[0].json()
    assert answer["cosignature"] is None
    assert [row["passed"] for row in answer["findings"]["rows"]] == [True, False]
    assert check_of(bench.ask(good)) == ""


def test_vote__same_time_on_one_gpu_again__is_refused(bench: Bench) -> None:
    first = matmul("nvml")
    assert check_of(bench.ask(first)) == ""
    assert check_of(bench.ask(renamed(first, salt=8))) == "gpu.overlap"
