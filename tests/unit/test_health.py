"""Health tells whether the loop goes round, readiness whether anything keeps it from working."""

from __future__ import annotations

import pytest

from oracle.health import LATE_S, NotWell, Pulse, readiness


def test_pulse__passing_problem__is_alive_and_not_well() -> None:
    pulse = Pulse(1.0)
    pulse.beat("the chain is away")
    assert pulse.alive
    with pytest.raises(NotWell, match="the chain is away"):
        pulse.check()


def test_pulse__well_again__forgets_the_problem() -> None:
    pulse = Pulse(1.0)
    pulse.beat("the chain is away")
    pulse.beat()
    assert pulse.check()


def test_pulse__no_pass_for_long__is_neither_alive_nor_well() -> None:
    now = [0.0]
    pulse = Pulse(1.0, clock=lambda: now[0])
    now[0] = LATE_S + 1
    assert not pulse.alive
    with pytest.raises(NotWell, match="no pass has ended"):
        pulse.check()


def test_pulse__slow_by_its_settings__has_longer() -> None:
    now = [0.0]
    pulse = Pulse(60.0, clock=lambda: now[0])
    now[0] = LATE_S + 1
    assert pulse.alive


def test_readiness__one_part_is_not_well__says_which_and_why() -> None:
    pulse = Pulse(1.0)
    pulse.beat("disk is full")
    ready, found = readiness({"loop": pulse.check, "chain": lambda: "block 1"})
    assert not ready
    assert found["chain"]["ok"]
    assert "disk is full" in found["loop"]["detail"]
