"""A client of the protocol `starlane.v1`, written from crates/protocol/README.md alone.

    async with Link("ws://127.0.0.1:7711/mesh") as link:
        print(await link.request("acme:profiles:directory", "list", json={}))
        async for part in await link.request("acme:films:film", "read", json={}):
            print(len(part))

A link outlives its socket: when the socket is lost, the client dials again and resumes, also in the middle of a stream.
"""

import asyncio
import base64
import contextlib
import hashlib
import inspect
import json as _json
import secrets
import time
import weakref

import cbor2
import websockets

from streams import Reader, Writer
from wire import ACK, CANCEL, CHUNKED, CREDIT, END, EVENT, GAP, GOODBYE, HELLO, NOTIFY, PING, PONG, REFUSED, REQUEST
from wire import BODY, CHUNK, FIRST_CREDIT, LIMITS, MESSAGE, OPEN_STREAMS, RESPONSE, SERVE, STOP, STREAM, SUBSCRIBE
from wire import CANCELLED, VERSION, WHOLE, Ended, Failure, decoded, packed, payload_of, unpacked


class Link:
    def __init__(self, url, token=None):
        self.url, self.token, self.secret = url, token, secrets.token_bytes(32)
        # The first 130 bits of the digest, in base32.
        digest = hashlib.sha256(self.secret).digest()
        self.name = "~" + base64.b32encode(digest).decode().lower()[:26]
        self.handlers, self.principal, self.outcomes, self.goodbye = {}, None, [], None
        self.requests, self.topics, self.last_request, self.dial = {}, {}, 0, 0
        self.pairs, self.tasks, self.changed = weakref.WeakValueDictionary(), set(), asyncio.Event()
        self._begin()

    def _begin(self):
        """The state of a new link."""
        self.link, self.key, self.sequence, self.received, self.unacked = None, None, 0, 0, {}
        self.readers, self.writers, self.answers = {}, {}, {}

    async def __aenter__(self):
        await self.connect()
        return self

    async def __aexit__(self, *_):
        self.running.cancel()
        self._lose()
        await self._say([GOODBYE, "closed", "the client is done"])
        await self.socket.close()

    async def connect(self):
        """Dials. Returns the outcome: [0] for a new link, [1, received] for the earlier one, [2, reason] for a gap."""
        self.dial = max(self.dial + 1, int(time.time() * 1000))
        resume = [self.link, self.key, self.received] if self.link else None
        self.socket = await websockets.connect(self.url, subprotocols=["starlane.v1"], max_size=MESSAGE, proxy=None)
        await self._say([HELLO, [VERSION], self.token, self.secret, [], self.dial, resume, LIMITS])
        first, *rest = unpacked(await self.socket.recv())
        if first[0] == GOODBYE:
            raise Ended(*first[1:3])
        _, _, link, self.host, self.principal, limits, key, outcome, _, *_ = first
        self.limits = [*limits, *[OPEN_STREAMS, FIRST_CREDIT][len(limits) - 3 :]]
        self.outcomes.append(outcome[0])
        resumed = outcome[0] == 1
        if resumed:
            self._acked(outcome[1])
        else:
            if self.link:
                self._lose()
            self.link, self.key = link, key
            for address in self.handlers:
                await self.send(SERVE, address, list(self.handlers[address]))
            for topic in self.topics:
                await self.send(SUBSCRIBE, topic)
        self.running = asyncio.create_task(self._run(rest, outcome[1] if resumed else 0))
        return outcome

    def _lose(self):
        """The earlier link is over: what left may have arrived."""
        lost = Failure(502, "link-lost", "the link broke before the end", None, True)
        for future in self.requests.values():
            if not future.done():
                future.set_exception(lost)
        for reader in self.readers.values():
            reader.end(lost)
        for task in self.tasks:
            task.cancel()
        self.requests.clear()
        self._begin()
        self.changed.set()

    async def cut(self):
        """Loses the socket without a goodbye, as a network does."""
        self.running.cancel()
        self.socket.transport.abort()
        await asyncio.wait({self.running})

    # What a host sends.

    async def request(self, to, operation, body=b"", content_type="", json=None, stream=None, timeout=30.0):
        """Sends a request; `stream`, an async iterable of bytes, takes the place of the body. Returns the body of the
        reply, decoded if it is JSON, or a `Reader` if the reply is a stream. Raises `Failure`. The timeout in seconds
        is for the reply; a stream may take longer, in both directions."""
        if json is not None:
            body, content_type = _json.dumps(json).encode(), "application/json"
        self.last_request += 1
        request, own, writer = self.last_request, "starlane:python", None
        future = self.requests[request] = asyncio.get_running_loop().create_future()
        head = lambda payload: (REQUEST, request, own, "", to, operation, payload, int(timeout * 1000), 0, None)
        try:
            async with asyncio.timeout(timeout):
                writer = await self._message((own, to), head, content_type, body if stream is None else stream)
                return await future
        except (Failure, TimeoutError, asyncio.CancelledError) as error:
            if self.requests.pop(request, None):
                await self.send(CANCEL, request)
            if writer:
                writer.stop(error if isinstance(error, Failure) else CANCELLED)
            raise

    async def notify(self, to, operation, json):
        """Sends a one-way message."""
        head = lambda payload: (NOTIFY, "starlane:python", "", to, operation, payload, 0, None)
        await self._message(("starlane:python", to), head, "application/json", _json.dumps(json).encode())

    async def serve(self, address, operations):
        """Serves an address of this host: a function for each operation, async or not, from JSON to JSON. It gets a
        `Reader` if a stream comes, and an async iterable of bytes that it returns leaves as a stream."""
        self.handlers[address] = operations
        await self.send(SERVE, address, list(operations))

    async def subscribe(self, topic):
        """Subscribes to a topic. Returns a queue of its events; `None` in it is a gap, and a `Failure` is the end."""
        queue = self.topics[topic] = asyncio.Queue()
        await self.send(SUBSCRIBE, topic)
        return queue

    async def _message(self, pair, head, content_type, body):
        """Sends a message, and all of its body. A stream goes on after this: its `Writer` is returned."""
        streams = hasattr(body, "__aiter__")
        follows = STREAM if streams else BODY if len(body) > CHUNK else WHOLE
        payload = [content_type, [], None if streams else len(body), b"" if follows else body, follows]
        # The next message of the same two addresses waits until a long body has left.
        async with self.pairs.setdefault(pair, asyncio.Lock()):
            sequence = await self.send(*head(payload), follows=follows)
            if writer := self.writers.get(sequence):
                writer.start(body if streams else once(body))
                if follows == BODY:
                    await writer.done()
            return writer

    async def send(self, number, *fields, follows=WHOLE):
        """Sends a numbered frame as soon as the peer has room for it and what follows. Returns its sequence."""
        unacked = self.unacked
        await self.until(lambda: unacked is not self.unacked or self._has_room(follows))
        if unacked is not self.unacked:
            raise Failure(502, "link-lost", "the link broke before the message left", None, False)
        self.sequence += 1
        unacked[self.sequence] = cbor2.dumps([number, self.sequence, *fields])
        if follows:
            self.writers[self.sequence] = Writer(self, self.sequence, follows, self.limits[4])
        self.changed.set()
        return self.sequence

    def _has_room(self, follows):
        kept = sum(len(frame) + 64 for frame in self.unacked.values())
        opened = follows and sum(writer.follows == follows for writer in self.writers.values())
        return len(self.unacked) < self.limits[1] and kept < self.limits[2] and opened < self.limits[3]

    async def _send_all(self, sent):
        """Sends the numbered frames in order on one socket, from the one after `sent`."""
        while True:
            await self.until(lambda: sent < self.sequence)
            sent += 1
            await self._say(self.unacked[sent])

    async def _say(self, *frames):
        with contextlib.suppress(websockets.ConnectionClosed):  # The next socket gets what is not acknowledged.
            await self.socket.send(packed(frames))

    async def until(self, ready):
        """Waits for a change of the link that makes `ready` true."""
        while not ready():
            self.changed.clear()
            await self.changed.wait()

    def start(self, work):
        """Starts a task that ends with the link at the latest."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def closed(self, writer):
        del self.writers[writer.sequence]
        self.changed.set()

    # What a host hears.

    async def _run(self, frames, sent):
        """Reads and sends until the socket is lost. Then dials again."""
        sending = asyncio.create_task(self._send_all(sent))
        try:
            while True:
                before = self.received
                for frame in frames:
                    await self._take(frame)
                self.changed.set()
                if self.received != before:
                    await self._say([ACK, self.received])
                frames = unpacked(await self.socket.recv())
        except websockets.ConnectionClosed:
            pass
        except Ended as ended:
            self._lose()
            await self._say([GOODBYE, *ended.args])
            await self.socket.close()
        finally:
            sending.cancel()
        try:
            await self.connect()
        except (Ended, OSError, websockets.WebSocketException):
            self._lose()

    async def _take(self, frame):
        number, *fields = frame
        if number == ACK:
            self._acked(fields[0])
        elif number == PING:
            await self._say([ACK, self.received], [PONG, fields[0]])
        elif number == GOODBYE:
            self.goodbye = fields
            if fields[2:3] != [True]:
                self._lose()
        elif number >= 16:
            sequence, *fields = fields
            if sequence > self.received + 1:
                raise Ended("malformed", f"sequence {sequence}; expected {self.received + 1}")
            if sequence == self.received + 1:
                self.received = sequence
                self._numbered(number, sequence, fields)

    def _acked(self, received):
        for sequence in [sequence for sequence in self.unacked if sequence <= received]:
            del self.unacked[sequence]
        self.changed.set()

    def _numbered(self, number, sequence, fields):
        if number in (CHUNKED, END):
            self._more(number, *fields)
        elif number in (CREDIT, STOP):
            if fields[0] > self.sequence:
                raise Ended("malformed", f"frame {fields[0]} was never sent")
            writer = self.writers.get(fields[0])
            if writer and number == CREDIT:
                writer.limit = max(writer.limit, fields[1])
            elif writer:
                writer.stop(Failure(*fields[1]))
        elif number == CANCEL and fields[0] in self.answers:
            self.answers[fields[0]].cancel()
        elif not (payload := payload_of(number, fields)) or payload[4] == WHOLE:
            self._deliver(number, fields, payload and decoded(payload[0], payload[3]))
        else:
            reader = self.readers[sequence] = Reader(self, sequence, payload, (number, fields))
            if payload[4] == STREAM:
                self._deliver(number, fields, reader)
            else:
                self.start(reader.credit(reader.length))

    def _more(self, number, of, place, value, *_):
        """A chunk or an end of a stream or of a long body."""
        reader = self.readers.get(of)
        if not reader or number == END and place != reader.offset:
            raise Ended("malformed", f"a chunk or an end at {place} does not fit stream {of}")
        if number == CHUNKED:
            reader.add(place, value)
            if reader.offset == reader.length:
                del self.readers[of]
                self._deliver(*reader.message, decoded(reader.content_type, b"".join(reader.parts)))
            return
        del self.readers[of]
        reader.end(value and Failure(*value))
        # A body that will not come fails its request, on whichever side that waits.
        message, (request, *_) = reader.message
        if reader.length is not None and message == RESPONSE:
            self._deliver(RESPONSE, [request, [1, value]], None)
        elif reader.length is not None and message == REQUEST:
            self.start(self.send(RESPONSE, request, [1, value]))

    def _deliver(self, number, fields, value):
        """Takes a message; its value is decoded JSON, bytes, or the reader of a stream."""
        if number == RESPONSE:
            future, (failed, outcome, *_) = self.requests.pop(fields[0], None), fields[1]
            if future and not future.done():
                future.set_exception(Failure(*outcome)) if failed else future.set_result(value)
            elif isinstance(value, Reader):
                self.start(value.aclose())
        elif number == EVENT and fields[0] in self.topics:
            self.topics[fields[0]].put_nowait(value)
        elif number == GAP and fields[0] in self.topics:
            self.topics[fields[0]].put_nowait(None)
        elif number == REFUSED and fields[0] in self.topics:
            self.topics.pop(fields[0]).put_nowait(Failure(*fields[1]))
        elif number == REQUEST:
            request, source, _, to, operation, *_ = fields
            self.answers[request] = self.start(self._answer(request, source, to, operation, value))
        elif number == NOTIFY:
            source, _, to, operation, *_ = fields
            self.start(self._answer(None, source, to, operation, value))
        elif number > STOP and not 96 <= number <= 127:
            raise Ended("malformed", f"unknown frame {number}")

    async def _answer(self, request, source, to, operation, value):
        """Runs a handler. A one-way message has no request, and its answer is dropped."""
        head = lambda payload: (RESPONSE, request, [0, payload])
        handler = self.handlers.get(to.split("::")[-1], {}).get(operation)
        try:
            if handler is None:
                raise Failure(404, "no-operation", f"no operation `{operation}` here", to)
            answer = handler(value)
            if inspect.isawaitable(answer):
                answer = await answer
            if request is not None and hasattr(answer, "__aiter__"):
                await (await self._message((to, source), head, "", answer)).done()
            elif request is not None:
                await self._message((to, source), head, "application/json", _json.dumps(answer).encode())
        except Exception as error:
            failure = error if isinstance(error, Failure) else Failure(500, "guest-failed", repr(error))
            if request is not None:
                origin = int(handler is not None)  # Without a handler it is this host that fails the request.
                fields = [failure.status, failure.code, failure.message, failure.address or to, failure.sent, origin]
                await self.send(RESPONSE, request, [1, fields])
        finally:
            self.answers.pop(request, None)
            if isinstance(value, Reader):
                await value.aclose()


async def once(body):
    yield body
