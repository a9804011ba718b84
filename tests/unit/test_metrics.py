"""What is counted: requests that fail, room on the disk, refusals, readings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from oracle.metrics import Metrics
from oracle.store import Store
from oracle.telemetry.timed import TimedMeter
from scrip.errors import NodeUnavailable
from scrip.rpc import make_web3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.open(f"sqlite:///{tmp_path / 'oracle.db'}")
    yield made
    made.close()


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, name
    return found


def test_disk__free_and_size__are_those_of_the_state_folder(store: Store, tmp_path: Path) -> None:
    metrics = Metrics(store, tmp_path)
    assert 0 < value(metrics, "scrip_disk_free_bytes") <= value(metrics, "scrip_disk_size_bytes")


def test_refusals__by_check__are_what_the_store_holds(store: Store, tmp_path: Path) -> None:
    for job, check in ((1, "receipt.units"), (2, "receipt.units"), (2, "chain.root")):
        store.add_refusal(bytes([job]) * 32, "0xw", check, "no")
    metrics = Metrics(store, tmp_path)
    assert value(metrics, "scrip_watcher_refusals_total", check="receipt.units") == 2
    assert value(metrics, "scrip_watcher_refusals_total", check="chain.root") == 1


class _Meter:
    name, simulated = "slow", True

    def start(self, lease: object) -> list[object]:
        return ["start"]

    def tick(self) -> list[object]:
        raise OSError("gone")

    def end(self, finished: object) -> list[object]:
        return ["end"]

    def notes(self) -> tuple[str, ...]:
        return ("note",)


def test_sampler__every_reading__is_timed_failures_too(store: Store) -> None:
    metrics = Metrics(store)
    meter = TimedMeter(_Meter(), metrics)  # type: ignore[arg-type]
    assert (meter.name, meter.simulated, meter.notes()) == ("slow", True, ("note",))
    assert meter.start(None) == ["start"]  # type: ignore[arg-type,comparison-overlap]
    with pytest.raises(OSError, match="gone"):
        meter.tick()
    assert meter.end(None) == ["end"]  # type: ignore[arg-type,comparison-overlap]
    assert value(metrics, "scrip_sampler_seconds_count", meter="slow") == 3


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (429, "429"),
        (503, "503"),
        (requests.Timeout(), "Timeout"),
        (requests.ConnectionError(), "ConnectionError"),
    ],
)
def test_rpc__each_failed_request__is_counted_with_method_and_reason(
    store: Store, monkeypatch: pytest.MonkeyPatch, answer: int | Exception, reason: str
) -> None:
    def post(*_: object, **__: object) -> bytes:
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code = answer
        raise requests.HTTPError(response=response)

    metrics = Metrics(store)
    w3 = make_web3("http://127.0.0.1:1/KEY", attempts=2, on_failure=metrics.rpc_failed)
    monkeypatch.setattr(w3.provider, "_make_request", post)
    with pytest.raises(NodeUnavailable):
        _ = w3.eth.block_number
    assert value(metrics, "scrip_rpc_errors_total", method="eth_blockNumber", reason=reason) == 2
