"""Who may see what: signed requests, parties, operators; and how often anybody may ask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account import Account
from fastapi.testclient import TestClient

from oracle.api_limits import client_key, is_heavy
from oracle.states import State
from scrip.errors import BadInput
from scrip.signed_requests import LONGEST_S, Credentials, SignedBy, request_digest
from tests.unit.oracle_factory import SPEC, Lab, terms
from tests.unit.oracle_market import CHAIN_ID, MARKET, ORACLE
from tests.unit.test_api import PARTY, client, error

STRANGER = Account.from_key("0x" + "33" * 32)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path / "state", monkeypatch)
    yield made
    made.close()


@pytest.fixture
def settled(lab: Lab) -> tuple[Any, str]:
    """A node with one settled job, and that job's path."""
    node = lab.start()
    asked = terms(lab.market)
    key = lab.market.open(asked, node.desk.quote(asked, SPEC).signature)
    node.until_at(key, State.SETTLED)
    return node, "/jobs/0x" + key.hex()


def header(api: TestClient, path: str, **changes: Any) -> str:
    """The header that `SignedBy` makes for a GET, with something of it changed."""
    given = {"account": PARTY, "chain_id": CHAIN_ID, "market": MARKET} | changes
    auth = SignedBy(
        given["account"], given["chain_id"], given["market"], *([given["clock"]] if "clock" in given else [])
    )
    request = httpx.Request(given.get("method", "GET"), str(api.base_url).rstrip("/") + path)
    return next(auth.auth_flow(request)).headers["Authorization"]


@pytest.mark.parametrize("path", ["output", "evidence"])
def test_private__without_a_signature__is_401_and_says_how(settled: Any, path: str) -> None:
    node, job = settled
    response = client(node).get(f"{job}/{path}")
    assert (response.status_code, error(response)["code"]) == (401, "unauthorised")
    assert response.headers["WWW-Authenticate"] == "Scrip"


def test_private__signed_for_something_else__is_401(settled: Any) -> None:
    node, job = settled
    api, path = client(node), f"{job}/output"
    wrong = {
        "another path": header(api, f"{job}/evidence"),
        "another method": header(api, path, method="POST"),
        "another chain": header(api, path, chain_id=CHAIN_ID + 1),
        "another market": header(api, path, market=ORACLE.address),
        "expired": header(api, path, clock=lambda: 1_000_000_000.0),
        "for too long": header(api, path, clock=lambda: 4_000_000_000.0),
        "no header of ours": "Bearer abc",
        "somebody else's name": header(api, path).replace(PARTY.address, STRANGER.address),
    }
    for what, value in wrong.items():
        response = api.get(path, headers={"Authorization": value})
        assert response.status_code == 401, what
    assert api.get(path, headers={"Authorization": header(api, path)}).status_code == 200


def test_private__for_another_node__is_401(settled: Any) -> None:
    node, job = settled
    api = client(node)
    path = f"{job}/output"
    request = httpx.Request("GET", "http://other.test" + path)
    value = next(SignedBy(PARTY, CHAIN_ID, MARKET).auth_flow(request)).headers["Authorization"]
    assert api.get(path, headers={"Authorization": value}).status_code == 401


def test_private__signed_by_a_stranger__is_403(settled: Any) -> None:
    node, job = settled
    response = client(node, STRANGER).get(f"{job}/evidence")
    assert (response.status_code, error(response)["code"]) == (403, "forbidden")
    assert error(response)["given"] == STRANGER.address


def test_private__signed_by_the_node_itself__is_shown(settled: Any) -> None:
    node, job = settled
    assert client(node, ORACLE).get(f"{job}/output").status_code == 200


def test_private__unknown_job__says_nothing_before_a_signature(lab: Lab) -> None:
    api = client(lab.start())
    assert api.get(f"/jobs/0x{'ab' * 32}/output").status_code == 401


@pytest.mark.parametrize(
    "text",
    ["", "Scrip", "Scrip signer=0x12,expires=1,signature=0x00", "Bearer x", "Scrip signer=0x" + "zz" * 20],
)
def test_credentials__malformed__raise(text: str) -> None:
    with pytest.raises(BadInput, match="Authorization"):
        Credentials.parse(text)


def test_credentials__round_trip() -> None:
    given = Credentials(PARTY.address, 1_700_000_000, b"\x01" * 65)
    assert Credentials.parse(str(given)) == given


def test_request_digest__every_part_counts() -> None:
    base = ("GET", "http://a.test/x?y=1", b"body", 5, 1, MARKET)
    changed = [
        ("PUT", *base[1:]),
        ("GET", "http://a.test/x?y=2", *base[2:]),
        (*base[:2], b"", *base[3:]),
        (*base[:3], 6, *base[4:]),
        (*base[:4], 2, base[5]),
        (*base[:5], ORACLE.address),
    ]
    digests = {request_digest(*item) for item in [base, *changed]}
    assert len(digests) == len(changed) + 1


# Lists


def test_jobs__not_the_operator__is_403(lab: Lab) -> None:
    assert client(lab.start(), PARTY).get("/jobs").status_code == 403


def test_jobs__pages__give_every_job_once_newest_first(lab: Lab) -> None:
    node = lab.start(slots=1, queue=8)
    for salt in range(5):
        node.desk.quote(terms(lab.market, salt=salt), SPEC)
    api, seen, after = client(node, ORACLE), [], None
    for _ in range(3):
        page = api.get("/jobs", params={"limit": 2} | ({"after": after} if after else {})).json()
        seen += [(item["createdMs"], item["jobId"]) for item in page["jobs"]]
        after = page["next"]
    assert after is None
    assert len(set(seen)) == 5
    assert seen == sorted(seen, reverse=True)
    assert api.get("/jobs", params={"state": "settled"}).json() == {"jobs": [], "next": None}
    assert len(api.get("/jobs", params={"state": "quoted"}).json()["jobs"]) == 5


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": 201}, {"state": "lost"}, {"after": "1"}, {"after": "9" * 17 + "-" + "a" * 64}],
)
def test_jobs__bad_query__is_422(lab: Lab, query: dict[str, Any]) -> None:
    response = client(lab.start(), ORACLE).get("/jobs", params=query)
    assert (response.status_code, error(response)["code"]) == (422, "bad_request")


# How often


def limited(lab: Lab, **limits: int) -> TestClient:
    node = lab.start()
    api = node.settings.api.model_copy(update=limits)
    return client(node, settings=node.settings.model_copy(update={"api": api}))


def test_rate__over_the_limit__is_429_with_when_to_come_back(lab: Lab) -> None:
    api = limited(lab, requests_per_minute=3)
    path = f"/jobs/0x{'ab' * 32}"
    assert [api.get(path).status_code for _ in range(4)] == [404, 404, 404, 429]
    refused = api.get(path)
    assert error(refused) == {
        "code": "rate", "message": error(refused)["message"], "given": None, "limit": "3 a minute",
    }  # fmt: skip
    assert 1 <= int(refused.headers["Retry-After"]) <= 120
    assert api.get("/healthz").status_code == 200


def test_rate__what_costs_more__has_a_limit_of_its_own(lab: Lab) -> None:
    api = limited(lab, heavy_per_minute=1)
    assert [api.put(f"/specs/0x{'00' * 32}", json={}).status_code for _ in range(2)] == [422, 429]
    assert api.get(f"/jobs/0x{'ab' * 32}").status_code == 404


def test_rate__is_counted_by_client() -> None:
    def key(host: str) -> str:
        return client_key({"client": (host, 1)})

    assert key("10.0.0.1") != key("10.0.0.2")
    assert key("2001:db8::1") == key("2001:db8::2")
    assert key("2001:db8:0:1::1") != key("2001:db8:0:2::1")
    assert client_key({"client": None}) == "unknown"
    assert key("unix") == "unix"


@pytest.mark.parametrize(
    ("method", "path", "heavy"),
    [("GET", "/jobs/0x1", False), ("GET", "/jobs/0x1/evidence", True),
     ("GET", "/jobs/0x1/evidence/3/proof", True), ("POST", "/quotes", True),
     ("HEAD", "/healthz", False), ("GET", "/jobs/0x1/output", True)],
)  # fmt: skip
def test_is_heavy(method: str, path: str, heavy: bool) -> None:
    assert is_heavy(method, path) is heavy


def test_longest__is_longer_than_what_we_sign() -> None:
    from scrip.signed_requests import LIFETIME_S

    assert LIFETIME_S < LONGEST_S
