"""Places on GPUs: never more jobs on one than it takes, and none twice on the same."""

from __future__ import annotations

import threading

import pytest

from oracle.gpu_pool import GpuPool
from oracle.outbox import Stopped


def never() -> bool:
    return False


def test_lease__none_free__waits_until_given_up() -> None:
    pool = GpuPool(["a"])
    with pool.lease(1, never), pytest.raises(Stopped), pool.lease(1, lambda: True):
        pass


def test_lease__two_wanted_of_one_gpu_with_two_places__is_not_the_same_gpu_twice() -> None:
    pool = GpuPool(["a"], tenants=2)
    with pytest.raises(Stopped), pool.lease(2, lambda: True):
        pass


def test_lease__shared__as_many_as_there_are_places_and_the_emptiest_first() -> None:
    pool = GpuPool(["a", "b"], tenants=2)
    with pool.lease(1, never) as one, pool.lease(1, never) as two, pool.lease(2, never) as both:
        assert {*one, *two} == {"a", "b"} == set(both)
        with pytest.raises(Stopped), pool.lease(1, lambda: True):
            pass
    with pool.lease(2, never), pool.lease(2, never):
        pass


def test_lease__given_back__wakes_who_waits() -> None:
    pool, got = GpuPool(["a"]), threading.Event()

    def wait() -> None:
        with pool.lease(1, never):
            got.set()

    with pool.lease(1, never):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not got.is_set()
    assert got.wait(20)
    waiting.join()
