"""A client of the protocol `starlane.v1`, written from crates/protocol/README.md alone.

    async with Link("ws://127.0.0.1:7711/mesh") as link:
        print(await link.request("acme:profiles:directory", "list", json={}))

A link outlives its socket: when the socket is lost, the client dials again and resumes.
"""

import asyncio
import base64
import hashlib
import json as _json
import secrets
import time

import cbor2
import websockets

VERSION, CHUNK, LIMITS = 1, 64 * 1024, [16 * 1024 * 1024, 1024, 1024 * 1024]
HELLO, WELCOME, ACK, RENEW, PING, PONG, GOODBYE, EXPIRES = range(8)
REQUEST, RESPONSE, NOTIFY, EVENT, SUBSCRIBE, UNSUBSCRIBE, CANCEL, SERVE, RELEASE, CHUNKED, GAP, REFUSED = range(16, 28)


class Failure(Exception):
    """A request failed: `status` has HTTP's meaning, `code` is stable, `sent` is false if the target did not get it."""

    def __init__(self, status, code, message, address=None, sent=None, *_):
        super().__init__(f"{message} ({status} {code})")
        self.status, self.code, self.address, self.sent = status, code, address, sent


class Ended(Exception):
    """The server has ended the link: its code and reason."""


class Link:
    def __init__(self, url, token=None):
        self.url, self.token, self.secret = url, token, secrets.token_bytes(32)
        # The first 130 bits of the digest, in base32.
        digest = hashlib.sha256(self.secret).digest()
        self.name = "~" + base64.b32encode(digest).decode().lower()[:26]
        self.handlers, self.principal, self.outcomes = {}, None, []
        self.requests, self.topics, self.last_request, self.dial = {}, {}, 0, 0
        self._begin()

    def _begin(self):
        """The state of a new link."""
        self.link, self.key, self.sequence, self.received, self.unacked = None, None, 0, 0, []
        self.bodies = {}

    async def __aenter__(self):
        await self.connect()
        return self

    async def __aexit__(self, *_):
        self.reading.cancel()
        await self._say([GOODBYE, "closed", "the client is done"])
        await self.socket.close()

    async def connect(self):
        """Dials. Returns the outcome: [0] for a new link, [1, received] for the earlier one, [2, reason] for a gap."""
        self.dial = max(self.dial + 1, int(time.time() * 1000))
        resume = [self.link, self.key, self.received] if self.link else None
        self.socket = await websockets.connect(self.url, subprotocols=["starlane.v1"], max_size=1024 * 1024, proxy=None)
        await self._say([HELLO, [VERSION], self.token, self.secret, [], self.dial, resume, LIMITS])
        first, *rest = await self._hear()
        if first[0] == GOODBYE:
            raise Ended(*first[1:3])
        _, _, link, self.host, self.principal, self.limits, key, outcome, _, *_ = first
        if outcome[0] != 1:
            self._lose()
            self.link, self.key = link, key
        self.outcomes.append(outcome[0])
        self.reading = asyncio.create_task(self._read(rest))
        if outcome[0] == 1:
            await self._acked(outcome[1])
            await self._say(*[frame for _, frame in self.unacked])
        else:
            for address in self.handlers:
                await self._number(SERVE, address, list(self.handlers[address]))
            for topic in self.topics:
                await self._number(SUBSCRIBE, topic)
        return outcome

    def _lose(self):
        """The earlier link is over: what left may have arrived."""
        for future in self.requests.values():
            if not future.done():
                future.set_exception(Failure(502, "link-lost", "the link broke before the reply came", None, True))
        self.requests.clear()
        self._begin()

    async def cut(self):
        """Loses the socket without a goodbye, as a network does."""
        self.reading.cancel()
        self.socket.transport.abort()
        await asyncio.sleep(0)

    # What a host sends.

    async def request(self, to, operation, body=b"", content_type="", json=None, timeout=30.0):
        """Sends a request. Returns the body of the reply, decoded if it is JSON. Raises `Failure`."""
        if json is not None:
            body, content_type = _json.dumps(json).encode(), "application/json"
        self.last_request += 1
        request = self.last_request
        future = self.requests[request] = asyncio.get_running_loop().create_future()
        head = lambda payload: (REQUEST, request, "starlane:python", "", to, operation, payload, int(timeout * 1000), 0, None)
        await self._message(head, content_type, body)
        return await asyncio.wait_for(future, timeout)

    async def notify(self, to, operation, json):
        """Sends a one-way message."""
        head = lambda payload: (NOTIFY, "starlane:python", "", to, operation, payload, 0, None)
        await self._message(head, "application/json", _json.dumps(json).encode())

    async def serve(self, address, operations):
        """Serves an address of this host: a function for each operation, from JSON to JSON."""
        self.handlers[address] = operations
        await self._number(SERVE, address, list(operations))

    async def subscribe(self, topic):
        """Subscribes to a topic. Returns a queue of its events; `None` in it is a gap, and a `Failure` is the end."""
        queue = self.topics[topic] = asyncio.Queue()
        await self._number(SUBSCRIBE, topic)
        return queue

    async def _message(self, head, content_type, body):
        """Sends a message. A long body follows in chunks."""
        if len(body) <= CHUNK:
            await self._number(*head([content_type, [], len(body), body]))
            return
        of = await self._number(*head([content_type, [], len(body), b""]))
        for offset in range(0, len(body), CHUNK):
            await self._number(CHUNKED, of, offset, body[offset : offset + CHUNK])

    async def _number(self, number, *fields):
        while len(self.unacked) >= self.limits[1] or sum(len(frame) + 64 for _, frame in self.unacked) >= self.limits[2]:
            await asyncio.sleep(0.01)
        self.sequence += 1
        frame = cbor2.dumps([number, self.sequence, *fields])
        self.unacked.append((self.sequence, frame))
        sequence = self.sequence
        await self._say(frame)
        return sequence

    async def _say(self, *frames):
        """Sends frames, each encoded or as a list."""
        encoded = [frame if isinstance(frame, bytes) else cbor2.dumps(frame) for frame in frames]
        if encoded:
            head = cbor2.dumps([0] * (2 * len(encoded)))[: -2 * len(encoded)]
            try:
                await self.socket.send(head + b"".join(b"\x00" + frame for frame in encoded))
            except websockets.ConnectionClosed:
                pass  # The next socket gets what is not acknowledged.

    # What a host hears.

    async def _hear(self):
        message = cbor2.loads(await self.socket.recv())
        return message[1::2]

    async def _read(self, frames):
        socket = self.socket
        try:
            while True:
                for frame in frames:
                    await self._take(frame)
                frames = await self._hear()
        except websockets.ConnectionClosed:
            if socket is self.socket:
                await self.connect()

    async def _take(self, frame):
        number, *fields = frame
        if number == ACK:
            await self._acked(fields[0])
        elif number == PING:
            await self._say([ACK, self.received], [PONG, fields[0]])
        elif number == GOODBYE and not (len(fields) > 2 and fields[2]):
            self._lose()
        elif number >= 16:
            sequence, *fields = fields
            if sequence == self.received + 1:
                self.received = sequence
                await self._numbered(number, sequence, fields)
            if self.received % 16 == 0 or number in (RESPONSE, CHUNKED):
                await self._say([ACK, self.received])

    async def _acked(self, received):
        self.unacked = [(sequence, frame) for sequence, frame in self.unacked if sequence > received]

    async def _numbered(self, number, sequence, fields):
        if number == CHUNKED:
            of, _, part = fields
            number, fields, payload = self.bodies[of]
            payload[3] += part
            if len(payload[3]) < payload[2]:
                return
            del self.bodies[of]
        elif (payload := self._payload(number, fields)) and payload[2] != len(payload[3]):
            self.bodies[sequence] = (number, fields, payload)
            return
        if number == RESPONSE:
            request, (failed, value) = fields[0], fields[1][:2]
            future = self.requests.pop(request, None)
            if future and not future.done():
                future.set_exception(Failure(*value)) if failed else future.set_result(decoded(value))
        elif number == EVENT and fields[0] in self.topics:
            self.topics[fields[0]].put_nowait(decoded(fields[1]))
        elif number == GAP and fields[0] in self.topics:
            self.topics[fields[0]].put_nowait(None)
        elif number == REFUSED and fields[0] in self.topics:
            self.topics.pop(fields[0]).put_nowait(Failure(*fields[1]))
        elif number == REQUEST:
            asyncio.create_task(self._answer(*fields[:6]))

    @staticmethod
    def _payload(number, fields):
        """The payload of a message, if it has one."""
        if number == RESPONSE:
            return fields[1][1] if fields[1][0] == 0 else None
        return {REQUEST: fields[5:6], NOTIFY: fields[4:5], EVENT: fields[1:2]}.get(number, [None])[0]

    async def _answer(self, request, _from, _caller, to, operation, payload):
        handler = self.handlers.get(to.split("::")[-1], {}).get(operation)
        try:
            if handler is None:
                raise Failure(404, "no-operation", f"no operation `{operation}` here")
            body = _json.dumps(handler(decoded(payload))).encode()
            await self._message(lambda reply: (RESPONSE, request, [0, reply]), "application/json", body)
        except Failure as failure:
            await self._number(RESPONSE, request, [1, [failure.status, failure.code, str(failure), to]])


def decoded(payload):
    content_type, _, _, body = payload[:4]
    return _json.loads(body) if content_type == "application/json" and body else bytes(body)
