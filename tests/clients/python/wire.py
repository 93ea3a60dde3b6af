"""The wire of `starlane.v1`: its numbers and limits, its failures, and the packing of frames."""

import json

import cbor2

VERSION, CHUNK, MESSAGE = 1, 64 * 1024, 1024 * 1024
# Longest payload, unacked frames, unacked bytes, open streams, first credit.
LIMITS = [16 * 1024 * 1024, 1024, 1024 * 1024, 64, 64 * 1024]
OPEN_STREAMS, FIRST_CREDIT = 64, 64 * 1024  # For a peer that does not name them.
HELLO, WELCOME, ACK, RENEW, PING, PONG, GOODBYE, EXPIRES = range(8)
REQUEST, RESPONSE, NOTIFY, EVENT, SUBSCRIBE, UNSUBSCRIBE, CANCEL, SERVE, RELEASE = range(16, 25)
CHUNKED, GAP, REFUSED, CREDIT, END, STOP = range(25, 31)
WHOLE, BODY, STREAM = range(3)  # What follows a payload.


class Failure(Exception):
    """A request or a stream failed: `status` has HTTP's meaning, `code` is stable, `sent` is false if the target
    certainly did not get the message, and `origin` is 1 if the target itself failed it."""

    def __init__(self, status, code, message, address=None, sent=None, origin=0, *_):
        super().__init__(f"{message} ({status} {code})")
        self.status, self.code, self.message, self.address = status, code, message, address
        self.sent, self.origin = sent, origin

    def fields(self):
        return [self.status, self.code, self.message, self.address, self.sent, self.origin]


CANCELLED = Failure(499, "cancelled", "the other host cancelled it")


class Ended(Exception):
    """The link has ended: its code and reason."""


def packed(frames):
    """The WebSocket message of frames, each encoded or as a list."""
    encoded = [frame if isinstance(frame, bytes) else cbor2.dumps(frame) for frame in frames]
    head = cbor2.dumps([0] * (2 * len(encoded)))[: -2 * len(encoded)]
    return head + b"".join(b"\x00" + frame for frame in encoded)


def unpacked(message):
    return cbor2.loads(message)[1::2]


def payload_of(number, fields):
    """The payload of a message, with its defaults, if it has one."""
    if number == RESPONSE:
        payload = None if fields[1][0] else fields[1][1]
    else:
        payload = {REQUEST: fields[5:6], NOTIFY: fields[4:5], EVENT: fields[1:2]}.get(number, [None])[0]
    return payload and [*payload, WHOLE][:5]


def decoded(content_type, body):
    return json.loads(body) if content_type == "application/json" and body else bytes(body)
