"""A stream of events: its shape, its pauses, and how it ends when nobody reads it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.rest.event_stream import EventStream, ServerSentEvent
from service.rest.json_answer import picture_object
from service.rest.options import RestOptions


class Reader:
    """The other side of a response: takes what is sent, until it leaves or stops taking."""

    def __init__(self, takes: int | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self.has_left = asyncio.Event()
        self._takes = takes

    async def send(self, message):
        if self._takes is not None and len(self.sent) >= self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def receive(self):
        await self.has_left.wait()
        return {"type": "http.disconnect"}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        return bool(self.sent) and self.sent[-1].get("more_body") is False


class Source:
    """Yields numbered events; takes note of how far it was asked and whether it was closed."""

    def __init__(self, count: int, hold: asyncio.Event | None = None) -> None:
        self.count = count
        self.hold = hold
        self.made = 0
        self.is_closed = False

    async def events(self):
        try:
            for number in range(self.count):
                self.made += 1
                yield ServerSentEvent("number", (str(number).encode(),))
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.is_closed = True


async def serve(source, reader, options=None):
    ends = []
    stream = EventStream(source.events(), options or RestOptions(), lambda: ends.append(True))
    await stream({"type": "http"}, reader.receive, reader.send)
    assert ends == [True]
    assert source.is_closed
    return stream


async def test_events_are_lines_and_end_with_the_answer():
    source, reader = Source(2), Reader()
    stream = await serve(source, reader)
    assert reader.body == b"event: number\ndata: 0\n\nevent: number\ndata: 1\n\n"
    assert reader.is_complete
    assert reader.sent[0]["status"] == 200
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.headers["x-accel-buffering"] == "no"
    assert "no-transform" in stream.headers["cache-control"]
    assert "content-length" not in stream.headers


async def test_a_picture_is_sent_in_pieces_on_one_line():
    content = bytes(range(256)) * 4096  # 1 MiB
    event = ServerSentEvent("picture", picture_object(content, {"n": 1}))
    pieces = list(event.pieces())
    assert len(pieces) == 6  # what is around the picture goes with its pieces
    assert max(map(len, pieces)) <= 264 * 1024
    assert b"".join(pieces).count(b"\n") == 3


async def test_a_pause_is_filled_with_comments():
    hold = asyncio.Event()
    source, reader = Source(1, hold), Reader()
    serving = asyncio.create_task(serve(source, reader, RestOptions(keepalive_s=0.05)))
    while reader.body.count(b": keepalive\n\n") < 3:
        await asyncio.sleep(0.01)
    hold.set()
    await serving
    assert reader.body.startswith(b"event: number\ndata: 0\n\n: keepalive\n\n")
    assert reader.is_complete


async def test_a_reader_who_leaves_stops_the_source():
    source, reader = Source(1, asyncio.Event()), Reader()
    serving = asyncio.create_task(serve(source, reader))
    while b"data: 0" not in reader.body:
        await asyncio.sleep(0)
    reader.has_left.set()
    await asyncio.wait_for(serving, 5)
    assert not reader.is_complete


async def test_a_server_that_stops_stops_the_source():
    source, reader = Source(1, asyncio.Event()), Reader()
    serving = asyncio.create_task(serve(source, reader))
    while b"data: 0" not in reader.body:
        await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert source.is_closed


async def test_a_reader_who_takes_nothing_more_slows_the_source_and_is_given_up():
    source, reader = Source(1000), Reader(takes=2)  # the head of the answer, and one event
    await asyncio.wait_for(serve(source, reader, RestOptions(write_stall_s=0.1)), 5)
    assert source.made <= 3  # the one that was sent, the one that was stuck, the one after
    assert not reader.is_complete
