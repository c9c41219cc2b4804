"""What must be true of fan-outs, of the buckets and of the ledger when a storm is over. Exactly."""

import asyncio
import hashlib
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing

import aiohttp
import msgspec
import redis

from broker.contract import SessionPage, State, UploadSession
from broker.dev.stack import Stack, bucket_of
from broker.domain.sessions import Session
from broker.ledger.records import decode
from tests.chaos.fan_outs import SPOILED, ZONES, FanOut, FanOuts
from tests.owners import owner_of

LISTED_WITHIN = 40.0
_ALL_KEYS = re.compile(
    r"(session|tomb|stray|looked|idem|own|batch|owner|usage|jobs|hooks|hook|told|rate):\{[0-9a-f]{2}\}:.+"
    r"|(due|queues|events|cursors):\{[0-9a-f]{2}\}|store-id"
)


def events_of(stack: Stack) -> Counter[tuple[str, str]]:
    """(session, state) → how often the stream recorded it."""
    seen: Counter[tuple[str, str]] = Counter()
    with redis.Redis.from_url(stack.about.redis, decode_responses=True) as ledger:
        for key in ledger.scan_iter("events:*"):
            for _, fields in ledger.xrange(key):
                seen[fields["id"], fields["state"]] += 1
    return seen


def prove_copies(fan_outs: Sequence[FanOut], sessions: Mapping[str, UploadSession]) -> None:
    """Each copy is there; of a half one, just the one that was sent, whatever events said."""
    for fan_out in fan_outs:
        session = sessions[fan_out.session_id]
        copies = session.copies or []
        assert tuple(copy.destination for copy in copies) == fan_out.places
        assert len({copy.object.key for copy in copies}) == len(copies)
        states = [copy.state for copy in copies]
        if fan_out.kind == "half":
            assert states == [State.VERIFIED, *[State.PENDING] * (len(copies) - 1)], (fan_out, states)
        else:
            assert set(states) == {State.VERIFIED}, (fan_out, states)


def prove_zones(stack: Stack, sessions: Mapping[str, UploadSession]) -> None:
    """Who was given a job, was given a copy that he may read."""
    holders = dict[tuple[str, int], str]()
    with redis.Redis.from_url(stack.about.redis, decode_responses=True) as ledger:
        for key in ledger.scan_iter("events:*"):
            holders |= {(of["id"], int(of["epoch"])): of["worker"] for _, of in ledger.xrange(key) if "worker" in of}
    for session in sessions.values():
        zone = ZONES[int(holders[session.id, session.result["epoch"]].removeprefix("consumer-"))]
        assert session.result["destination"] in zone


async def prove_stored(stack: Stack, done: FanOuts, sessions: Mapping[str, UploadSession]) -> None:
    """The buckets hold what sessions say, and what others put there: what nobody wants any more goes, nothing else."""
    expected = dict.fromkeys(done.foreign, _md5(SPOILED))
    bodies = {fan_out.session_id: fan_out.body for fan_out in done.made}
    for session in sessions.values():
        for copy in session.copies or []:
            if copy.state is State.VERIFIED:
                expected[copy.destination, copy.object.key] = _md5(bodies[session.id])
    plain = {(each.object.destination, each.object.key) for each in sessions.values() if each.object}
    end = time.monotonic() + LISTED_WITHIN
    while True:
        stored = await _stored(stack)
        assert plain <= stored.keys()
        found = {place: digest for place, digest in stored.items() if place not in plain}
        if found == expected or time.monotonic() > end:
            break
        await asyncio.sleep(0.3)
    assert found == expected


async def prove_hidden(stack: Stack, sessions: Mapping[str, UploadSession], heard: set[str]) -> None:
    """Of copies nobody hears but through the session that they serve.

    :param heard: whatever id an event, a webhook or a job named.
    """
    listed = await _listed(stack)
    assert sessions.keys() <= {session.id for session in listed}
    hidden = _copies(_records(stack)).keys()
    assert hidden
    assert hidden.isdisjoint({session.id for session in listed} | heard)
    headers = {"authorization": f"Bearer {stack.about.api_key}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        for copy_id in sorted(hidden)[:20]:
            async with http.get(f"{stack.about.broker}/upload-sessions/{copy_id}") as answer:
                assert answer.status == 404


async def prove_ledger(stack: Stack) -> None:
    """One record for each session and each copy; nothing reserved, scheduled or queued that nobody waits for."""
    records = _records(stack)
    listed = {session.id for session in await _listed(stack)}
    copies = _copies(records)
    assert records.keys() - copies.keys() == listed
    assert {copy.facts.copy_of for copy in copies.values()} <= listed
    pending = Counter[str]()
    for session_id in listed:
        if records[session_id].state is State.PENDING:
            pending[session_id[:2]] += 1
    with redis.Redis.from_url(stack.about.redis, decode_responses=True) as ledger:
        keys: list[str] = list(ledger.scan_iter(count=1_000))
        assert [key for key in keys if not _ALL_KEYS.fullmatch(key)] == []
        used = {key[7:9]: int(str(ledger.hget(key, "sessions"))) for key in keys if key.startswith("usage:")}
        assert used == pending
        assert [key for key in keys if key.startswith(("jobs:", "queues:"))] == []
        due = {str(each) for key in keys if key.startswith("due:") for each in ledger.zrange(key, 0, -1)}
        graves = {key.rpartition(":")[2] for key in keys if key.startswith("tomb:")}
    settled = {each.id for each in records.values() if each.state is State.VERIFIED or each.state is State.PROCESSED}
    assert due & settled == set()
    assert graves & settled == set()
    noted = {copy.id for each in records.values() for copy in each.facts.copies}
    assert {each.id for each in copies.values() if each.state in {State.PENDING, State.VERIFIED}} <= noted


async def _stored(stack: Stack) -> dict[tuple[str, str], str]:
    """Destination and key → MD5, without the broker's own marks."""
    found: dict[tuple[str, str], str] = {}
    for destination in stack.endpoints:
        with closing(await asyncio.to_thread(owner_of, stack, destination)) as owner:
            digests = await owner.digests(bucket_of(destination), "uploads/")
        found |= {(destination, key): digest for key, digest in digests.items()}
    return {place: digest for place, digest in found.items() if not place[1].endswith("/.broker")}


async def _listed(stack: Stack) -> list[UploadSession]:
    headers = {"authorization": f"Bearer {stack.about.api_key}"}
    found, cursor = list[UploadSession](), ""
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            query = {"limit": "100", **({"cursor": cursor} if cursor else {})}
            async with http.get(f"{stack.about.broker}/upload-sessions", params=query) as answer:
                assert answer.status == 200, await answer.text()
                page = msgspec.json.decode(await answer.read(), type=SessionPage)
            found += page.sessions
            if not page.cursor:
                return found
            cursor = page.cursor


def _records(stack: Stack) -> dict[str, Session]:
    with redis.Redis.from_url(stack.about.redis) as ledger:
        keys = list(ledger.scan_iter("session:*", count=1_000))
        ids = [key.decode().rpartition(":")[2] for key in keys]
        return {name: decode(name, record) for name, record in zip(ids, ledger.mget(keys), strict=True)}


def _copies(records: Mapping[str, Session]) -> dict[str, Session]:
    return {each.id: each for each in records.values() if each.facts.copy_of}


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
