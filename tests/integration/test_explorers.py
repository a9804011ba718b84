"""Submission to explorers, against a FAKE server on this machine.

It speaks the shapes of the published descriptions of Sourcify's and Etherscan's APIs
(docs.sourcify.dev/docs/api, docs.etherscan.io); no test asks the real ones.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from scripts.explorers import Etherscan, Sourcify
from scripts.verification import Entry, VerificationFailed

ADDRESS, TX = "0x" + "ab" * 20, "0x" + "cd" * 32
ENTRY = Entry("JobLens", ADDRESS, "contracts/JobLens.sol:JobLens", "0.8.37+commit.f4", "MIT", "0x1234", TX)
SOURCE = json.dumps({"language": "Solidity", "sources": {"a.sol": {"content": "x"}}})


class Fake(ThreadingHTTPServer):
    """Keeps what it was sent; `polls` answers are "pending" before the last one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[dict[str, str]] = []
        self.known, self.match, self.polls = False, "exact_match", 2

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def pending(self) -> bool:
        self.polls -= 1
        return self.polls >= 0


class _Handler(BaseHTTPRequestHandler):
    server: Fake

    def do_GET(self) -> None:
        place, query = urlsplit(self.path), parse_qs(urlsplit(self.path).query)
        if place.path == f"/v2/contract/11155111/{ADDRESS}":
            found = self.server.known
            self._answer(200 if found else 404, {"match": "exact_match" if found else None})
        elif place.path == "/v2/verify/7":
            if self.server.pending():
                self._answer(200, {"isJobCompleted": False, "verificationId": "7"})
            elif self.server.match:
                self._answer(200, {"isJobCompleted": True, "contract": {"match": self.server.match}})
            else:
                error = {
                    "customCode": "no_match",
                    "message": "The bytecodes don't match.",
                }
                self._answer(200, {"isJobCompleted": True, "error": error, "contract": {"match": None}})
        else:
            assert query["action"] == ["checkverifystatus"]
            assert query["guid"] == ["guid-1"]
            told = "Pass - Verified" if self.server.match else "Fail - Unable to verify"
            result = "Pending in queue" if self.server.pending() else told
            self._answer(200, {"status": "1", "result": result})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == f"/v2/verify/11155111/{ADDRESS}":
            self.server.sent.append(json.loads(body))
            self._answer(202, {"verificationId": "7"})
        else:
            given = parse_qs(body) | parse_qs(urlsplit(self.path).query)
            self.server.sent.append({name: values[0] for name, values in given.items()})
            self._answer(200, {"status": "1", "message": "OK", "result": "guid-1"})

    def _answer(self, status: int, data: dict[str, object]) -> None:
        raw = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def fake() -> Iterator[Fake]:
    server = Fake()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _quick(_: float) -> None:
    """Instead of waiting between polls."""


def test_sourcify__unknown_contract__is_sent_and_polled_until_it_matches(fake: Fake) -> None:
    assert Sourcify(fake.url, _quick).submit(11155111, ENTRY, SOURCE) == "exact_match"
    assert fake.sent == [
        {
            "stdJsonInput": json.loads(SOURCE),
            "compilerVersion": "0.8.37+commit.f4",
            "contractIdentifier": "contracts/JobLens.sol:JobLens",
            "creationTransactionHash": TX,
        }
    ]


def test_sourcify__verified_already__nothing_is_sent(fake: Fake) -> None:
    fake.known = True
    assert "known before" in Sourcify(fake.url, _quick).submit(11155111, ENTRY, SOURCE)
    assert fake.sent == []


@pytest.mark.parametrize("name", ["sourcify", "etherscan"])
def test_explorer__does_not_match__is_an_error_in_its_words(fake: Fake, name: str) -> None:
    fake.match = ""
    explorer = Sourcify(fake.url, _quick) if name == "sourcify" else Etherscan("key", fake.url, _quick)
    with pytest.raises(VerificationFailed, match=r"JobLens: .*(don't match|Unable to verify)"):
        explorer.submit(11155111, ENTRY, SOURCE)


def test_etherscan__contract__is_sent_with_its_arguments_and_polled(fake: Fake) -> None:
    assert Etherscan("key", fake.url, _quick).submit(11155111, ENTRY, SOURCE) == "Pass - Verified"
    (sent,) = fake.sent
    assert sent["chainid"] == "11155111"
    assert sent["apikey"] == "key"
    assert sent["codeformat"] == "solidity-standard-json-input"
    assert sent["compilerversion"] == "v0.8.37+commit.f4"
    assert sent["constructorArguments"] == "1234"
    assert json.loads(sent["sourceCode"]) == json.loads(SOURCE)
