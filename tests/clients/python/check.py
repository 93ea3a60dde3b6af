"""Checks the client against a server: `check.py ws://127.0.0.1:PORT/mesh`. Prints a line for each fact, and the closing line."""

import asyncio
import sys

import starlane
from starlane import Ended, Failure, Link

ECHO = "acme:echoes:echo"
FACTS = []


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
