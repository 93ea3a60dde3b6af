"""Checks the client against a server: `check.py ws://127.0.0.1:PORT/mesh`. Prints a line for each fact, and the closing line."""

import asyncio
import sys

import starlane
from starlane import Link
from streams import WINDOW
from wire import CHUNK, CHUNKED, LIMITS, Ended, Failure

ECHO = "acme:echoes:echo"
FACTS = []
FNV = 0xCBF29CE484222325
PART = 50_000


def fact(check):
    FACTS.append(check)
    return check


@fact
async def a_request_is_answered(url):
    async with Link(url) as link:
        assert link.outcomes == [0] and link.name.startswith("~")
        assert await link.request(ECHO, "echo", json={"größe": [1, None]}) == {"größe": [1, None]}


@fact
async def a_failure_has_its_status_and_address(url):
    async with Link(url) as link:
        try:
            await link.request("acme:nothing", "echo", json=1)
        except Failure as failure:
            assert (failure.status, failure.code, failure.address) == (404, "no-resource", "acme:nothing"), failure
        else:
            raise AssertionError("it did not fail")


@fact
async def long_bodies_go_both_ways(url):
    async with Link(url) as link:
        text = "x" * 300_000
        assert await link.request(ECHO, "echo", json=text) == text


@fact
async def a_mechtron_asks_an_address_of_this_host(url):
    async with Link(url) as link:
        await link.serve("acme:python", {"double": lambda number: 2 * number})
        call = {"target": f"{link.name}::acme:python", "operation": "double", "body": 21}
        assert await link.request(ECHO, "call", json=call) == 42


@fact
async def events_arrive_in_order(url):
    async with Link(url) as link:
        events = await link.subscribe(f"{ECHO}#said")
        for n in range(20):
            await link.request(ECHO, "emit", json={"event": "said", "body": n})
        assert [await asyncio.wait_for(events.get(), 5) for _ in range(20)] == list(range(20))


@fact
async def a_link_is_resumed_and_nothing_is_lost_or_doubled(url):
    async with Link(url) as link:
        before = await link.request(ECHO, "count")
        asked = [asyncio.create_task(link.request(ECHO, "count")) for _ in range(50)]
        for n in range(5):
            await asyncio.sleep(0.02)
            await link.cut()
            asked += [asyncio.create_task(link.request(ECHO, "count")) for _ in range(10)]
            await asyncio.sleep(0)
            await link.connect()
        answers = sorted(await asyncio.gather(*asked))
        assert answers == list(range(before + 1, before + 101)), answers
        assert link.outcomes == [0] + [1] * 5, link.outcomes


@fact
async def a_wrong_key_is_refused_and_an_unknown_link_is_a_gap(url):
    async with Link(url) as link:
        await link.request(ECHO, "count")
        await link.cut()
        key, link.key = link.key, b"?" * 32
        try:
            await link.connect()
        except Ended as ended:
            assert ended.args[0] == "auth-refused", ended.args
        else:
            raise AssertionError("it was resumed")
        link.key, own = key, link.link
        link.link = b"?" * 16
        assert (await link.connect())[0] == 2
        assert link.link != own


@fact
async def an_older_dial_is_stale(url):
    async with Link(url) as link:
        await link.request(ECHO, "count")
        await link.cut()
        link.dial = 2**50
        await link.connect()
        await link.cut()
        link.dial, later = 5, starlane.time.time
        starlane.time.time = lambda: 0
        try:
            await link.connect()
        except Ended as ended:
            assert ended.args[0] == "stale-dial", ended.args
        else:
            raise AssertionError("it was taken")
        finally:
            starlane.time.time = later
        link.dial = 2**51
        assert (await link.connect())[0] == 1


def pattern(start, end):
    """The bytes of a stream: byte i is i % 251."""
    first = start % 251
    return (bytes(range(251)) * ((end - start) // 251 + 2))[first : first + end - start]


async def counting(length):
    for start in range(0, length, PART):
        yield pattern(start, min(start + PART, length))


async def upload(url, length):
    checksum = FNV

    async def source():
        nonlocal checksum
        async for part in counting(length):
            for byte in part:
                checksum = (checksum ^ byte) * 0x100000001B3 & 2**64 - 1
            yield part

    async with Link(url) as link:
        answer = await link.request(ECHO, "upload", stream=source(), timeout=50)
        assert answer == {"bytes": length, "checksum": f"{checksum:016x}"}, answer


async def until(ready):
    """Waits until a condition holds, for at most 10 s."""
    async with asyncio.timeout(10):
        while not ready():
            await asyncio.sleep(0.01)


@fact
async def a_stream_of_1_mb_is_uploaded(url):
    await upload(url, 1_000_000)


@fact
async def a_stream_of_20_mb_is_uploaded(url):
    await upload(url, 20_000_000)


@fact
async def a_reply_is_a_stream(url):
    async with Link(url) as link:
        for length in 0, 1, CHUNK, CHUNK + 1, 3_000_000:
            reply = await link.request(ECHO, "download", json={"bytes": length})
            assert b"".join([part async for part in reply]) == pattern(0, length), length
        await until(lambda: not link.readers)


@fact
async def a_stream_comes_back_while_it_leaves(url):
    returned = asyncio.Semaphore(0)

    async def source():
        async for part in counting(20 * PART):
            yield part
            await returned.acquire()  # The next part leaves after this one is back.

    async with Link(url) as link:
        heard = b""
        async for part in await link.request(ECHO, "mirror", stream=source()):
            for _ in range((len(heard) + len(part)) // PART - len(heard) // PART):
                returned.release()
            heard += part
        assert heard == pattern(0, 20 * PART)


@fact
async def a_cut_in_the_middle_of_a_stream_loses_nothing(url):
    async with Link(url) as link:
        heard = bytearray()
        async for part in await link.request(ECHO, "mirror", stream=counting(5_000_000)):
            heard += part
            if len(heard) // 1_000_000 >= len(link.outcomes):
                await link.cut()
                await link.connect()
        assert heard == pattern(0, 5_000_000)
        assert link.outcomes == [0] + [1] * 5, link.outcomes


@fact
async def a_lost_link_ends_its_streams(url):
    async with Link(url) as link:
        reply = await link.request(ECHO, "mirror", stream=counting(5_000_000))
        await anext(reply)
        await link.cut()
        link.link = b"?" * 16
        assert (await link.connect())[0] == 2
        try:
            async for _ in reply:
                pass
        except Failure as failure:
            assert failure.code == "link-lost", failure
        else:
            raise AssertionError("it did not fail")
        assert not link.readers and not link.writers
        assert await link.request(ECHO, "echo", json=1) == 1


@fact
async def a_writer_waits_for_the_credit_of_its_reader(url):
    async with Link(url) as link:
        reply = await link.request(ECHO, "download", json={"bytes": 20_000_000})
        await asyncio.sleep(0.5)
        assert reply.offset <= reply.limit == LIMITS[4]
        # Another message passes the stream that stands still.
        assert await link.request(ECHO, "echo", json=1) == 1
        assert await anext(reply) == pattern(0, reply.taken)
        await until(lambda: reply.offset == reply.limit == WINDOW)


@fact
async def a_reader_that_cancels_stops_the_writer(url):
    closed = asyncio.Event()

    async def endless(_=None):
        try:
            while True:
                yield b"x" * PART
        finally:
            closed.set()

    async def first(stream):
        return len(await anext(stream))

    async with Link(url) as link, Link(url) as other:
        reply = await link.request(ECHO, "download", json={"bytes": 100_000_000})
        await anext(reply)
        await reply.aclose()
        await until(lambda: not link.readers)
        assert reply.offset < 100_000_000

        await other.serve("acme:python", {"endless": endless, "first": first})
        address = f"{other.name}::acme:python"
        reply = await link.request(address, "endless", json={})
        await anext(reply)
        await reply.aclose()
        await asyncio.wait_for(closed.wait(), 10)
        await until(lambda: not link.readers and not other.writers)

        closed.clear()
        assert 0 < await link.request(address, "first", stream=endless()) <= CHUNK
        await asyncio.wait_for(closed.wait(), 10)
        await until(lambda: not link.writers and not other.readers)


@fact
async def a_writer_that_fails_ends_the_stream_with_its_failure(url):
    heard = asyncio.Event()

    async def torn(_=None):
        yield b"x" * 100
        # A host on the way may drop what it has not passed on when the failure comes.
        await heard.wait()
        raise Failure(422, "torn", "the paper is torn")

    async def read(stream):
        text = b""
        try:
            async for part in stream:
                text += part
                heard.set()
        except Failure as failure:
            return [len(text), failure.status, failure.code, failure.message]

    expected = [100, 422, "torn", "the paper is torn"]
    async with Link(url) as link, Link(url) as other:
        await other.serve("acme:python", {"torn": torn, "read": read})
        address = f"{other.name}::acme:python"
        assert await link.request(address, "read", stream=torn()) == expected
        heard.clear()
        assert await read(await link.request(address, "torn", json={})) == expected
        heard.clear()
        assert await read(await link.request(ECHO, "mirror", stream=torn())) == expected
        try:
            await link.request(ECHO, "upload", stream=torn())
        except Failure as failure:
            assert (failure.code, failure.message, failure.origin) == ("torn", "the paper is torn", 1), failure
        else:
            raise AssertionError("it did not fail")


@fact
async def a_failure_or_a_cancel_of_a_request_stops_its_stream(url):
    closed = []

    async def endless():
        try:
            while True:
                yield b"x" * PART
        finally:
            closed.append(True)

    async def hold(stream):
        async for _ in stream:
            await asyncio.sleep(60)

    async with Link(url) as link, Link(url) as other:
        await other.serve("acme:python", {"hold": hold})
        address = f"{other.name}::acme:python"
        for operation, expected in ("no-such-operation", Failure), ("hold", TimeoutError):
            try:
                await link.request(address, operation, stream=endless(), timeout=1)
            except expected:
                pass
            else:
                raise AssertionError("it did not fail")
        await until(lambda: len(closed) == 2 and not link.writers and not other.readers and not other.answers)


@fact
async def handlers_take_and_return_streams(url):
    async def mirror(stream):
        async for part in stream:
            yield part

    async with Link(url) as link, Link(url) as other:
        await other.serve("acme:python", {"mirror": mirror, "same": lambda stream: stream})
        for operation in "mirror", "same":
            reply = await link.request(f"{other.name}::acme:python", operation, stream=counting(2_000_000))
            assert b"".join([part async for part in reply]) == pattern(0, 2_000_000)


@fact
async def a_body_of_5_mb_goes_both_ways(url):
    async with Link(url) as link, Link(url) as other:
        await other.serve("acme:python", {"length": len, "same": lambda text: text})
        text = "x" * 5_000_000
        assert await link.request(f"{other.name}::acme:python", "length", json=text) == len(text)
        assert await link.request(f"{other.name}::acme:python", "same", json=text) == text


@fact
async def a_chunk_above_the_credit_ends_the_link(url):
    async def hold(stream):
        await asyncio.sleep(60)

    async with Link(url) as link, Link(url) as other:
        await other.serve("acme:python", {"hold": hold})
        asked = asyncio.create_task(link.request(f"{other.name}::acme:python", "hold", stream=counting(20_000_000)))
        await until(lambda: any(0 < writer.offset == writer.limit for writer in link.writers.values()))
        await asyncio.sleep(0.5)
        (writer,) = link.writers.values()
        assert writer.offset == writer.limit
        await link.send(CHUNKED, writer.sequence, writer.offset, b"x")
        try:
            await asked
        except Failure as failure:
            assert failure.code == "link-lost", failure
        assert link.goodbye[0] == "malformed", link.goodbye
        await until(lambda: link.outcomes == [0, 0])
        assert await link.request(ECHO, "echo", json=1) == 1


async def main(url):
    failed = 0
    for check in FACTS:
        try:
            await asyncio.wait_for(check(url), 60)
            print(f"ok  {check.__name__}")
        except Exception as error:
            failed += 1
            print(f"FAIL  {check.__name__}: {error!r}")
    print(f"{len(FACTS) - failed} passed, {failed} failed")
    return failed


sys.exit(1 if asyncio.run(main(sys.argv[1])) else 0)
