"""The stream: everything first, then what changed; slow viewers cost nothing; unseen, nothing is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from oracle.operator.feed import Feed, Seat, TooManyViewers
from oracle.operator.stream import EventStream

PERIOD_S = 0.01
SECONDS = 20.0


class Pages:
    """Sections that tests set; counts how often they were read."""

    def __init__(self) -> None:
        self.sections = {"jobs": "1", "gpus": "[1]"}
        self.reads = self.asked = 0
        self.chain_is_due = True
        self.failure: Exception | None = None

    def local(self) -> dict[str, str]:
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return dict(self.sections)

    def chain(self) -> None:
        self.asked += 1
        self.chain_is_due = False


class Place:
    """A feed, and whether its node stops."""

    def __init__(self, most: int = 2, heartbeat_s: float = SECONDS) -> None:
        self.pages, self.stops = Pages(), False
        self.feed = Feed(self.pages, lambda: self.stops, most, period_s=PERIOD_S, heartbeat_s=heartbeat_s)

    @asynccontextmanager
    async def viewer(self) -> AsyncIterator[AsyncIterator[bytes]]:
        seat = self.feed.enter()
        events = seat.events()
        assert (await anext(events)).startswith(b"retry: ")
        try:
            yield events
        finally:
            seat.leave()


async def told(events: AsyncIterator[bytes]) -> tuple[str, Any]:
    """Name and data of the next event, which must be whole and on lines of its own."""
    raw = (await asyncio.wait_for(anext(events), SECONDS)).decode()
    name, data, *end = raw.split("\n")
    assert end == ["", ""]
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(PERIOD_S)


def test_events__everything_first__then_what_changed() -> None:
    async def scenario() -> None:
        place = Place()
        async with place.viewer() as events:
            assert await told(events) == ("snapshot", {"jobs": 1, "gpus": [1]})
            place.pages.sections["jobs"] = "2"
            assert await told(events) == ("update", {"jobs": 2})
        async with place.viewer() as again:
            assert await told(again) == ("snapshot", {"jobs": 2, "gpus": [1]})

    asyncio.run(scenario())


def test_events__slow_viewer__misses_what_was_between_and_holds_up_nobody() -> None:
    async def scenario() -> None:
        place = Place()
        async with place.viewer() as quick, place.viewer() as slow:
            assert (await told(quick))[0] == (await told(slow))[0] == "snapshot"
            for value in range(10, 20):
                place.pages.sections["jobs"] = str(value)
                assert await told(quick) == ("update", {"jobs": value})
            assert await told(slow) == ("update", {"jobs": 19})

    asyncio.run(scenario())


def test_events__nothing_changes__heartbeats_are_comments() -> None:
    async def scenario() -> None:
        place = Place(heartbeat_s=0.02)
        async with place.viewer() as events:
            while not (raw := await asyncio.wait_for(anext(events), SECONDS)).startswith(b"event: snapshot"):
                assert raw == b": still here\n\n"  # before the first reading is done
            assert await anext(events) == b": still here\n\n"

    asyncio.run(scenario())


def test_enter__as_many_as_may__next_one_is_refused_until_one_leaves() -> None:
    async def scenario() -> None:
        feed = Place(most=2).feed
        seats = [feed.enter(), feed.enter()]
        with pytest.raises(TooManyViewers, match="2 viewers look already"):
            feed.enter()
        seats[0].leave()
        seats[0].leave()  # again does nothing
        assert feed.viewers == 1
        seats.append(feed.enter())
        for seat in seats:
            seat.leave()
        assert feed.viewers == 0

    asyncio.run(scenario())


def test_reading__is_once_for_all_viewers_and_ends_with_the_last() -> None:
    async def scenario() -> None:
        place = Place(most=100)
        assert place.pages.reads == 0
        seats = [place.feed.enter() for _ in range(100)]
        await until(lambda: place.pages.reads >= 5)
        producers = [task for task in asyncio.all_tasks() if "_follow" in repr(task)]
        assert len(producers) == 2
        assert place.pages.asked == 1  # nothing happened that the chain should be asked about again
        for seat in seats:
            seat.leave()
        await until(lambda: all(task.done() for task in producers))
        before = place.pages.reads
        await asyncio.sleep(5 * PERIOD_S)
        assert place.pages.reads == before

    asyncio.run(scenario())


def test_reading__fails__viewers_keep_what_they_have_and_it_goes_on() -> None:
    async def scenario() -> None:
        place = Place()
        async with place.viewer() as events:
            await told(events)
            place.pages.failure = OSError("disk I/O error")
            reads = place.pages.reads
            await until(lambda: place.pages.reads > reads + 5)
            place.pages.failure, place.pages.sections["jobs"] = None, "7"
            assert await told(events) == ("update", {"jobs": 7})

    with capture_logs() as lines:
        asyncio.run(scenario())
    assert [line["event"] for line in lines] == ["operator page can't be built"]


def test_events__node_stops__stream_ends() -> None:
    async def scenario() -> None:
        place = Place()
        async with place.viewer() as events:
            await told(events)
            place.stops = True
            async with asyncio.timeout(SECONDS):
                assert [part async for part in events] == []

    asyncio.run(scenario())


# The response


async def serve(seat: Seat, send: Any, receive: Any) -> None:
    await EventStream(seat, {}, send_s=0.05)({"type": "http"}, receive, send)


def test_stream__viewer_takes_nothing__is_given_up_and_its_seat_is_free() -> None:
    async def scenario() -> None:
        place, never = Place(), asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                await never.wait()

        async def receive() -> Any:
            await never.wait()

        async with asyncio.timeout(SECONDS):
            await serve(place.feed.enter(), send, receive)
        assert place.feed.viewers == 0

    asyncio.run(scenario())


def test_stream__viewer_goes__seat_is_free() -> None:
    async def scenario() -> None:
        place, sent = Place(), asyncio.Event()

        async def send(message: Any) -> None:
            if b"snapshot" in message.get("body", b""):
                sent.set()

        async def receive() -> Any:
            await sent.wait()
            return {"type": "http.disconnect"}

        async with asyncio.timeout(SECONDS):
            await serve(place.feed.enter(), send, receive)
        assert place.feed.viewers == 0

    asyncio.run(scenario())
