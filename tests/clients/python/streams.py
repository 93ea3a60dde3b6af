"""Streams and long bodies under credit. Both use the same frames; a body differs in that its length is known."""

import asyncio
import collections
import contextlib

from wire import BODY, CANCELLED, CHUNK, CHUNKED, CREDIT, END, LIMITS, STOP, STREAM, Ended, Failure

WINDOW = 512 * 1024  # The maximum of unread bytes of a stream.


class Reader:
    """A stream that arrives: an async iterator of bytes. Reading gives credit for more, and `aclose` stops the writer.
    Leaving a loop early does not; use `contextlib.aclosing`."""

    def __init__(self, link, sequence, payload, message):
        self.link, self.sequence, self.message = link, sequence, message
        self.content_type, _, self.length, first, _ = payload
        self.parts, self.offset, self.taken = collections.deque([first] if first else []), len(first), 0
        self.limit, self.over, self.failure = LIMITS[4], False, None

    def __aiter__(self):
        return self

    async def __anext__(self):
        if not self.over and self.limit - self.taken <= WINDOW // 2:
            await self.credit(self.taken + WINDOW)
        await self.link.until(lambda: self.parts or self.over)
        if self.parts:
            self.taken += len(self.parts[0])
            return self.parts.popleft()
        raise self.failure or StopAsyncIteration

    async def aclose(self):
        self.parts.clear()
        if not self.over:
            self.over = True
            with contextlib.suppress(Failure):  # A lost link has no writer to stop.
                await self.link.send(STOP, self.sequence, CANCELLED.fields())

    async def credit(self, limit):
        await self.link.send(CREDIT, self.sequence, limit)
        self.limit = limit

    def add(self, offset, part):
        if offset != self.offset or offset + len(part) > self.limit:
            raise Ended("malformed", f"{len(part)} bytes at {offset}; expected {self.offset}, and at most {self.limit}")
        self.offset += len(part)
        if not self.over:
            self.parts.append(part)

    def end(self, failure=None):
        """No more will come. What has arrived can still be read."""
        if not self.over:
            self.over, self.failure = True, failure


class Writer:
    """A stream or a long body that leaves: how much of it the reader allows, and why it ends early."""

    def __init__(self, link, sequence, follows, limit):
        self.link, self.sequence, self.follows, self.limit, self.offset = link, sequence, follows, limit, 0
        self.failure = None

    def start(self, source):
        self.copying = self.link.start(self._copy(source))
        self.ending = self.link.start(self._end())

    def stop(self, failure):
        if not self.failure and not self.copying.done():
            self.failure = failure
            self.copying.cancel()

    async def done(self):
        """Waits until all has left. If the waiting is cancelled, the rest does not leave."""
        try:
            await asyncio.wait({self.ending})
        finally:
            self.stop(CANCELLED)

    async def _copy(self, source):
        try:
            async with contextlib.AsyncExitStack() as stack:
                if hasattr(source, "aclose"):
                    stack.push_async_callback(source.aclose)
                async for part in source:
                    await self._write(memoryview(part))
        except Exception as error:
            failure = error if isinstance(error, Failure) else Failure(500, "guest-failed", repr(error))
            self.failure = self.failure or failure

    async def _write(self, part):
        while part:
            await self.link.until(lambda: self.offset < self.limit)
            first = bytes(part[: min(CHUNK, self.limit - self.offset)])
            await self.link.send(CHUNKED, self.sequence, self.offset, first)
            self.offset, part = self.offset + len(first), part[len(first) :]

    async def _end(self):
        """Ends the stream when its bytes have left. This task survives a stop, so the end is always sent."""
        await asyncio.wait({self.copying})
        if self.copying.cancelled():
            self.failure = self.failure or CANCELLED
        if self.failure or self.follows == STREAM:  # A complete body has no end.
            await self.link.send(END, self.sequence, self.offset, self.failure and self.failure.fields())
        self.link.closed(self)
