"""docs/gateway.md says what the code does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from oracle.audits import book, recount
from oracle.gateway import errors, refusals
from oracle.gateway.counters import CallCounters
from oracle.gateway.refusals import GatewayRefused
from oracle.settings_audits import AuditSettings
from oracle.settings_gateway import GatewaySettings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "gateway.md").read_text()


def example(section: str) -> Any:
    """The table of this name in the page's example of it."""
    found = [tomllib.loads(text) for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)]
    (table,) = [one[section] for one in found if section in one]
    return table


def test_errors__every_code_and_its_status__is_in_the_table() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if re.match(r"\| [45]\d\d", line)]
    told = {(int(status), code) for row in rows for status in re.findall(r"\d{3}", row[1])
            for code in re.findall(r"`([a-z_]+)`", row[2])}  # fmt: skip
    kinds = [
        kind for module in (errors, refusals) for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, GatewayRefused) and kind is not GatewayRefused
    ]  # fmt: skip
    assert {(kind.status, kind.code) for kind in kinds} - {(499, "client_gone")} <= told
    assert {code for _, code in told} == {kind.code for kind in kinds} - {"client_gone"}


def test_settings__the_example__is_taken() -> None:
    settings = GatewaySettings.model_validate(example("gateway"))
    assert settings.upstreams["smollm2-135m"].calls == 4
    assert settings.rates[0].rate.output == 1_000_000


def test_audits__the_example_and_the_checks__are_the_codes() -> None:
    settings = AuditSettings.model_validate(example("audits"))
    assert (settings.classes, list(settings.upstreams)) == ((1,), ["smollm2-135m"])
    told = set(re.findall(r"`([a-z]+\.[a-z]+)`", "".join(re.findall(r"\n\| `.*?\|", PAGE))))
    checks = {
        recount.HONEST,
        recount.INFLATED,
        recount.DIFFERS,
        recount.UNSHOWN,
        recount.FOREIGN,
        recount.UNFIT,
    }
    assert told == checks | {book.OVERCLAIMED}


def test_metrics__of_calls__are_in_the_table() -> None:
    registry = CollectorRegistry()
    CallCounters(registry)
    assert {f"{family.name}_total" for family in registry.collect()} <= set(re.findall(r"scrip_\w+", PAGE))
