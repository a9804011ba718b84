"""Routes of the operator's page: refused first, then found; a real server, so that streams are real too."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import pytest

from oracle.api import provider_app
from oracle.health import Pulse
from oracle.metrics import Metrics
from oracle.operator.access import COOKIE, Access
from oracle.operator.api import HEADERS, OperatorSite
from oracle.operator.faults import LogTail
from oracle.operator.feed import Feed
from oracle.operator.figures import Figures
from oracle.operator.page import Page, PageParts
from oracle.server import Server
from oracle.states import State
from oracle.telemetry.latest import LatestGpus
from tests.unit.oracle_factory import SPEC, Lab, Node, terms
from tests.unit.oracle_market import CHAIN_ID, ORACLE
from tests.unit.test_api import parts_of

TOKEN = bytes(range(32))
SECONDS = 20.0
PERIOD_S = 0.02


class NoFigures:
    """A chain that nobody has asked yet."""

    now = Figures()

    def want(self, classes: set[int], watcher_sets: set[int]) -> bool:
        return False

    def refresh(self) -> None:
        """Nothing to ask."""


@dataclass
class Served:
    """A node whose API is served."""

    node: Node
    url: str
    stopping: threading.Event
    feed: Feed

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, trust_env=False, timeout=SECONDS)

    def post(self, path: str, body: str = "", **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", content=body, headers=headers, trust_env=False)

    def cookie(self) -> str:
        made = self.post("/operator/session", f"token={TOKEN.hex()}")
        return f"{COOKIE}={made.cookies[COOKIE]}"

    @contextmanager
    def watching(self) -> Iterator[Iterator[tuple[str, Any]]]:
        """Events of the stream, as (name, data)."""
        headers = {"Cookie": self.cookie()}
        address = f"{self.url}/operator/events"
        with httpx.stream("GET", address, headers=headers, trust_env=False, timeout=SECONDS) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            yield events(response.iter_lines())


def events(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield name, json.loads(value)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    lab = Lab(tmp_path / "state", monkeypatch)
    node, stopping = lab.start(), threading.Event()
    page = Page(
        PageParts(
            settings=node.settings, store=node.store, metrics=Metrics(node.store), pulse=Pulse(1.0),
            gpus=LatestGpus(None, []), standing=lambda _: None, figures=NoFigures(), log=LogTail(),  # type: ignore[arg-type]
            oracle=ORACLE.address, chain_id=CHAIN_ID,
        )
    )  # fmt: skip
    feed = Feed(page, stopping.is_set, 2, period_s=PERIOD_S)
    site = OperatorSite(Access(TOKEN, "https://gpu.example"), feed)
    server = Server(provider_app(parts_of(node, operator=site)), "127.0.0.1", 0)
    server.start()
    try:
        yield Served(node, f"http://127.0.0.1:{server.port}", stopping, feed)
    finally:
        stopping.set()
        server.stop()
        lab.close()


def code(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


# Refused


@pytest.mark.parametrize("cookie", ["", f"{COOKIE}=", f"{COOKIE}=99999999999.{'0' * 64}", "other=1"])
def test_events__not_signed_in__is_401_and_takes_no_seat(served: Served, cookie: str) -> None:
    response = served.get("/operator/events", Cookie=cookie)
    assert (response.status_code, code(response)) == (401, "unauthorised")
    assert served.feed.viewers == 0


def test_page__not_signed_in__is_the_form_and_nothing_else(served: Served) -> None:
    response = served.get("/operator")
    assert response.status_code == 401
    assert 'action="/operator/session"' in response.text
    assert "page.js" not in response.text


@pytest.mark.parametrize("path", ["/operator", "/operator/events", "/operator/page.js", "/operator/icon.svg"])
def test_any__for_another_host__is_421_even_with_the_cookie(served: Served, path: str) -> None:
    response = served.get(path, Host="rebound.example:8800", Cookie=served.cookie())
    assert (response.status_code, code(response)) == (421, "wrong_host")


def test_sign_in__for_another_host__gives_no_cookie(served: Served) -> None:
    response = served.post("/operator/session", f"token={TOKEN.hex()}", Host="rebound.example")
    assert response.status_code == 421
    assert not response.cookies


def test_sign_in__public_name__only_by_tls_and_the_cookie_stays_there(served: Served) -> None:
    body = f"token={TOKEN.hex()}"
    assert served.post("/operator/session", body, Host="gpu.example").status_code == 421
    secure = {"Host": "gpu.example", "X-Forwarded-Proto": "https"}
    response = served.post("/operator/session", body, **secure)
    assert response.status_code == 303
    assert "secure" in response.headers["set-cookie"].lower()


@pytest.mark.parametrize("body", ["", "token=", "token=" + "0" * 64, "token=%ff", "x=1"])
def test_sign_in__wrong_token__is_401_without_a_cookie_and_says_so(served: Served, body: str) -> None:
    response = served.post("/operator/session", body)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers
    assert '<p class="notice" role="alert">' in response.text


def test_events__more_viewers_than_may__is_503_until_one_leaves(served: Served) -> None:
    with served.watching() as one:
        next(one)
        with served.watching() as two:
            next(two)
            refused = served.get("/operator/events", Cookie=served.cookie())
            assert (refused.status_code, code(refused)) == (503, "viewers")
            assert refused.headers["Retry-After"] == "30"
        served.node.until(lambda: served.feed.viewers == 1)
        with served.watching() as three:
            assert next(three)[0] == "snapshot"


def test_sign_out__without_signing_in__is_401(served: Served) -> None:
    assert served.post("/operator/leave").status_code == 401


# Served


def test_sign_in__cookie__is_for_the_page_alone_and_out_of_reach(served: Served) -> None:
    response = served.post("/operator/session", f"token={TOKEN.hex()}")
    assert (response.status_code, response.headers["location"]) == (303, "/operator")
    given = response.headers["set-cookie"].lower()
    for part in ("httponly", "samesite=strict", "path=/operator", "max-age=43200"):
        assert part in given
    assert TOKEN.hex() not in given


def test_page__every_answer__has_the_strict_headers(served: Served) -> None:
    cookie = served.cookie()
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]
    for path in (
        "/operator",
        "/operator/page.js",
        "/operator/page.css",
        "/operator/rows.js",
        "/operator/icon.svg",
    ):
        response = served.get(path, Cookie=cookie)
        assert response.status_code == 200, path
        for name, value in HEADERS.items():
            assert response.headers[name] == value


def test_page__files__hold_no_inline_script_or_style() -> None:
    for name in ("index.html", "signin.html"):
        text = files("oracle.operator").joinpath("static", name).read_text("utf-8")
        assert " style=" not in text
        assert "<style" not in text
        assert " on" + "click" not in text
        assert text.count("<script") == text.count('<script type="module" src=')


def test_schema__page_is_no_part_of_the_api(served: Served) -> None:
    assert not [path for path in served.get("/openapi.json").json()["paths"] if "operator" in path]


def test_events__job_settles__is_told_as_it_happens(served: Served) -> None:
    node = served.node
    with served.watching() as told:
        name, first = next(told)
        assert name == "snapshot"
        assert set(first) == {"node", "gpus", "jobs", "queue", "receipts", "earnings", "costs", "faults"}
        assert first["jobs"]["rows"] == []
        asked = terms(node.market)
        key = node.market.open(asked, node.desk.quote(asked, SPEC).signature)
        node.until_at(key, State.SETTLED)
        for name, news in told:
            assert name == "update"
            rows = news.get("jobs", {}).get("rows", [])
            if rows and rows[0]["state"] == "settled":
                break
        assert rows[0]["id"] == "0x" + key.hex()
        assert "node" not in news


def test_events__node_stops__stream_ends_and_the_server_with_it(served: Served) -> None:
    with served.watching() as told:
        next(told)
        served.stopping.set()
        assert list(told) == []
