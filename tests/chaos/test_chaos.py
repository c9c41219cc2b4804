"""300 uploads while events are lost, doubled, shuffled and forged, answers are lost, and everything is killed.

Each is processed, with exactly one accepted result, and a webhook is told of each state in order. Some are fan-outs, to
buckets of two stores of which one goes down now and then (`fan_outs.py`). On Cloud Storage fewer, and all die: store,
topic, identities and Redis, too (`providers.py`). The seed is printed;
`CHAOS_SEED` repeats it, `CHAOS_UPLOADS` makes it longer (`make chaos`: 5,000).
"""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import aiohttp
import pytest

from broker.contract import State, UploadSession
from broker.dev.children import Child
from broker.dev.stack import BUCKET, Stack, StackOptions, start_stack
from broker.domain.sessions import ENDINGS
from tests.chaos.abandoned import Abandoned, prove_abandoned
from tests.chaos.fan_out_proof import events_of, prove_copies, prove_hidden, prove_ledger, prove_stored, prove_zones
from tests.chaos.fan_outs import AWAY, BRIEF, MORE, ZONES, FanOuts, lie, plan_of, sending
from tests.chaos.providers import GCS, S3, Liar, Weather
from tests.chaos.receiver import Told, receiving
from uploader import RetryPolicy, Uploader, UploaderError

UPLOADS = int(os.environ.get("CHAOS_UPLOADS", "300"))  # while Redis lives, and half as many while it dies, too
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
UPLOADS_PER_SECOND = 9
SETTLED_WITHIN = timedelta(seconds=90)
TOLD_WITHIN = timedelta(seconds=60)
PATIENT = RetryPolicy(attempts=40, first_delay=timedelta(milliseconds=100), longest_delay=timedelta(seconds=1))

Required = Literal["all", 1]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120 + UPLOADS // 2)]


@dataclass(slots=True)
class Uploads:
    """What was sent, by session id."""

    digests: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)  # to those who had no right
    fan_outs: FanOuts = field(default_factory=FanOuts)
    abandoned: dict[str, str] = field(default_factory=dict)  # URIs, by session id

    @property
    def halves(self) -> set[str]:
        """Fan-outs of which one copy never comes."""
        return {each.session_id for each in self.fan_outs.made if each.kind == "half"}


@pytest.mark.parametrize(
    "weather",
    [
        pytest.param(S3, id="redis-lives"),
        pytest.param(replace(S3, redis_dies=True, share=1 / 2), id="redis-dies-too"),
        pytest.param(GCS, id="gcs"),
    ],
)
async def test_every_upload_is_processed_with_one_accepted_result(
    tmp_path: Path, weather: Weather, capsys: pytest.CaptureFixture[str]
) -> None:
    count = int(UPLOADS * weather.share)
    with capsys.disabled():
        redis = "Redis killed too" if weather.redis_dies else "Redis lives"
        print(f"\nchaos: {weather.provider}, seed {SEED}, {count} uploads, {redis}", end=" ")
    dice = random.Random(SEED)
    uploads, kills = Uploads(), Counter[str]()
    async with receiving(random.Random(SEED)) as told:
        options = _options(tmp_path, told.url, weather)
        stack = await asyncio.to_thread(start_stack, options)
        told.secret = _known(stack)["webhook_secret"]
        await _storm(stack, count, dice, uploads, kills, told, weather)
    with capsys.disabled():
        refused, unanswered, calls = len(told.refused), len(told.unanswered), told.times.total()
        print(f"kills {dict(kills)}; {calls} webhooks, {refused} refused, {unanswered} unanswered", end=" ")
    assert _secrets_said(stack, uploads) == []


async def _storm(
    stack: Stack,
    count: int,
    dice: random.Random,
    uploads: Uploads,
    kills: Counter[str],
    told: Told,
    weather: Weather,
) -> None:
    try:
        async with asyncio.timeout(100 + UPLOADS // 2):
            calm = asyncio.Event()
            rage = asyncio.create_task(_kill_at_random(stack, dice, kills, calm, weather))
            outage = asyncio.create_task(_kill_store(stack.away, random.Random(SEED + 1), kills, calm))
            forge = asyncio.create_task(_forge(stack, dice, calm, uploads))
            await _send_all(stack, count, dice, uploads, weather)
            calm.set()
            await asyncio.gather(rage, outage, forge)
            sessions = await _settled(stack, uploads)
            waiting = {i: sessions.pop(i) for i in uploads.halves} if stack.options.required == "all" else {}
            await _all_told(told, sessions)
            await _all_ended(stack, uploads, weather)
        assert kills.keys() == {"broker", "looker", "consumer", "away", *_more_that_die(stack, weather)}
        events = events_of(stack)
        _prove(uploads, sessions, waiting, events, count, weather)
        _prove_told(told, sessions, uploads)
        prove_abandoned(uploads.abandoned, events)
        prove_copies(uploads.fan_outs.made, sessions | waiting)
        prove_zones(stack, sessions)
        await prove_stored(stack, uploads.fan_outs, sessions | waiting)
        await prove_hidden(stack, sessions | waiting, told.by_session.keys() | {each for each, _ in events})
        await prove_ledger(stack)
    finally:
        await asyncio.to_thread(stack.stop)


def _more_that_die(stack: Stack, weather: Weather) -> set[str]:
    return {child.name for child in weather.fragile(stack)} | ({"redis"} if weather.redis_dies else set())


def _options(tmp_path: Path, webhook_url: str, weather: Weather) -> StackOptions:
    required: Required = 1 if weather.redis_dies else "all"
    return StackOptions(
        provider=weather.provider,
        directory=tmp_path / "dev",
        shards=4,
        durability="strict",
        consumers=2,
        lookers=1,
        consumer_module="tests.chaos.processors",
        policy={"first_look": "1s", "retry_base": "1s", "longest_look_interval": "4s"},
        multipart={"part_size_bytes": 5 * 2**20},
        lease="4s",
        log_level="debug",
        faults={**weather.faults, "seed": SEED},
        faults_away={**weather.faults, "seed": SEED + 1, "events_lost": 0.5},
        more_destinations=MORE,
        away=AWAY,
        policies={"brief": BRIEF},
        required=required,
        zones=ZONES,
        webhooks={"dev": webhook_url},
    )


def _known(stack: Stack) -> dict[str, str]:
    known: dict[str, str] = json.loads((stack.options.directory / "credentials.json").read_bytes())
    return known


# --- the load ---------------------------------------------------------------------------------------------


async def _send_all(stack: Stack, count: int, dice: random.Random, uploads: Uploads, weather: Weather) -> None:
    bodies = [_body(dice, number, weather) for number in range(count)]
    starts = [dice.uniform(0, count / UPLOADS_PER_SECOND) for _ in range(count)]
    async with (
        Uploader(stack.about.broker, stack.about.api_key, retry=PATIENT) as uploader,
        sending(stack, uploader, PATIENT, uploads.fan_outs, weather.digest) as fan_outs,
    ):

        async def send_one(number: int, body: bytes) -> str:
            result = await uploader.put(
                body,
                filename=f"{number}.bin",
                wait="none",
                keep_session=True,
                strategy=weather.large if _is_large(number, weather) else "put",
            )
            return result.session_id

        abandoned = Abandoned(client=fan_outs.client, http=fan_outs.http, uris=uploads.abandoned)

        async def send(number: int, body: bytes) -> None:
            await asyncio.sleep(starts[number])
            if weather.abandoned_every and number % weather.abandoned_every == 0:
                await abandoned.begin(number, is_aborted=number % (2 * weather.abandoned_every) == 0)
            plan = plan_of(number)
            try:
                session_id = await (fan_outs.send(number, plan, body) if plan else send_one(number, body))
                uploads.digests[session_id] = hashlib.sha256(body).hexdigest()
            except UploaderError as exc:
                uploads.problems.append(f"{number}: {exc!r}")

        await asyncio.gather(*(send(number, body) for number, body in enumerate(bodies)))


async def _all_ended(stack: Stack, uploads: Uploads, weather: Weather) -> None:
    async with (
        Uploader(stack.about.broker, stack.about.api_key, retry=PATIENT) as uploader,
        sending(stack, uploader, PATIENT, FanOuts(), weather.digest) as sender,
    ):
        await Abandoned(client=sender.client, http=sender.http, uris=uploads.abandoned).ended()


def _is_large(number: int, weather: Weather) -> bool:
    return number % weather.large_every == 0 and plan_of(number) is None


def _body(dice: random.Random, number: int, weather: Weather) -> bytes:
    """Mostly small."""
    return dice.randbytes(weather.large_bytes if _is_large(number, weather) else dice.randrange(0, 20_000))


async def _kill_at_random(
    stack: Stack, dice: random.Random, kills: Counter[str], calm: asyncio.Event, weather: Weather
) -> None:
    """kill -9, then start again: one part at a time, so that the load keeps moving."""
    parts: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        ("broker", stack.broker.kill, stack.broker.start),
        *(("looker", looker.kill, looker.start) for looker in stack.lookers),
        *(("consumer", consumer.kill, consumer.start) for consumer in stack.consumers),
    ]
    parts += [(child.name, child.kill, child.start) for child in weather.fragile(stack)]
    if weather.redis_dies:
        parts.append(("redis", stack.redis.kill, stack.redis.start))
    order = parts.copy()  # each at least once, then at random
    while not await _pause(calm, dice.uniform(0.2, 1.0)) or order:
        name, kill, start = order.pop() if order else dice.choice(parts)
        await asyncio.to_thread(kill)
        kills[name] += 1
        await asyncio.sleep(dice.uniform(0.0, 0.5))
        await asyncio.to_thread(start)


async def _kill_store(store: Child | None, dice: random.Random, kills: Counter[str], calm: asyncio.Event) -> None:
    """The one of two that is away, beside everything else."""
    assert store is not None
    while not await _pause(calm, dice.uniform(1.0, 4.0)) or not kills[store.name]:
        await asyncio.to_thread(store.kill)
        kills[store.name] += 1
        await asyncio.sleep(dice.uniform(0.5, 2.0))
        await asyncio.to_thread(store.start)


async def _forge(stack: Stack, dice: random.Random, calm: asyncio.Event, uploads: Uploads) -> None:
    """Events with a guessed token, and authentic ones about objects that nobody uploaded, or another's bucket holds."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
        liar = Liar(stack=stack, http=http, dice=dice, token=_known(stack)["event_token"])
        while not await _pause(calm, dice.uniform(0.05, 0.3)):
            session_id = f"{dice.randrange(4):02x}{''.join(dice.choices('abcdefghijklmnopqrstuvwxyz234567', k=26))}"
            bucket, key = BUCKET, f"uploads/{session_id}/forged.bin"
            if uploads.fan_outs.keys and dice.random() < 0.5:
                bucket, key = lie(uploads.fan_outs, dice)
            answer = await liar.tell(bucket, key)
            if answer is not None:
                uploads.answers.append(answer)


async def _pause(calm: asyncio.Event, seconds: float) -> bool:
    """True when the storm is over."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(calm.wait(), seconds)
    return calm.is_set()


# --- the proof --------------------------------------------------------------------------------------------


async def _settled(stack: Stack, uploads: Uploads) -> dict[str, UploadSession]:
    """Every session once nothing moves any more, or as it stands when the time is over."""
    sessions: dict[str, UploadSession] = {}
    end = time.monotonic() + SETTLED_WITHIN.total_seconds()
    async with Uploader(stack.about.broker, stack.about.api_key, retry=PATIENT) as uploader:
        while (waiting := uploads.digests.keys() - sessions.keys()) and time.monotonic() < end:
            for session_id in waiting:
                session = await uploader.status(session_id)
                if _is_done(session, is_half=session_id in uploads.halves):
                    sessions[session_id] = session
            await asyncio.sleep(0.2)  # polling is what a client of this API does
        for session_id in uploads.digests.keys() - sessions.keys():
            sessions[session_id] = await uploader.status(session_id)
    return sessions


def _is_done(session: UploadSession, *, is_half: bool) -> bool:
    copies = {copy.state for copy in session.copies or []}
    if session.state is State.PENDING:
        return is_half and copies == {State.VERIFIED, State.PENDING}
    return session.state in ENDINGS - {State.EXPIRED} and (is_half or copies <= {State.VERIFIED})


def _prove(
    uploads: Uploads,
    sessions: dict[str, UploadSession],
    waiting: dict[str, UploadSession],
    events: Counter[tuple[str, str]],
    count: int,
    weather: Weather,
) -> None:
    assert uploads.problems == []
    assert len(uploads.digests) == count
    large = [number for number in range(count) if _is_large(number, weather)]
    assert sum(session.size_bytes == weather.large_bytes for session in sessions.values()) == len(large)
    assert {session.state for session in waiting.values()} <= {State.PENDING}
    states = Counter(session.state for session in sessions.values())
    assert states == {State.PROCESSED: count - len(waiting)}
    for session_id, session in sessions.items():
        assert events[session_id, "processed"] == 1
        assert events[session_id, "failed"] == 0
        # The accepted result is the last epoch's, and read what was sent.
        assert isinstance(session.result, dict)
        places = [copy.destination for copy in session.copies or []] or ["default"]
        assert session.result["destination"] in places
        accepted = {key: value for key, value in session.result.items() if key != "destination"}
        assert accepted == {"sha256": uploads.digests[session_id], "epoch": session.attempts.leases}
    strangers = {session_id for session_id, _ in events} - sessions.keys()
    for session_id in strangers:  # sessions whose 201 never reached the client: pending, never processed
        assert events[session_id, "processed"] == 0


async def _all_told(told: Told, sessions: dict[str, UploadSession]) -> None:
    """Until the webhook heard how each session ended, and again what it did not take; or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TOLD_WITHIN.total_seconds()):
            while told.owed or any(f"session.{s.state}" not in told.in_order(i) for i, s in sessions.items()):
                told.news.clear()
                await told.news.wait()


def _prove_told(told: Told, sessions: dict[str, UploadSession], uploads: Uploads) -> None:
    """Each state at least once, in order, whoever was killed meanwhile; nobody else's words were taken for ours."""
    assert told.strange == []
    brief = {each.session_id for each in uploads.fan_outs.made if each.kind == "brief"}
    expired = {i: ["session.expired"] for i in brief if "session.expired" in told.in_order(i)}
    usual = ["session.verified", "session.processed"]
    wrong = {i: order for i in sessions if (order := told.in_order(i)) != [*expired.get(i, []), *usual]}
    assert wrong == {}
    assert told.refused
    assert told.unanswered
    assert told.owed == set()


_SIGNED = re.compile(
    rb"X-(Amz|Goog)-(Signature|Credential)=|AWS4-HMAC-SHA256|GOOG4-RSA-SHA256|upload_id=|[?&]token=|"
    rb"\bus_[0-9a-f]{6,}_|\bul_[\w-]{20,}|Bearer "
)


def _secrets_said(stack: Stack, uploads: Uploads) -> list[str]:
    """Of what every process wrote at debug level, through all its deaths, and answered to strangers: each line with a
    key, a token, a signature or a signed URL."""
    directory = stack.options.directory
    values = [value.encode() for name, value in _known(stack).items() if name != "access_key"]
    logs = [*directory.glob("*.log"), *directory.glob("*.out")]
    assert {log.stem for log in logs} >= {"broker", "looker-0", "consumer-0", "consumer-1", "store"}
    lines = [(log.name, line) for log in logs for line in log.read_bytes().splitlines()]
    lines += [("problem", answer) for answer in uploads.answers]
    assert any(b'"code"' in answer for answer in uploads.answers)
    return [
        f"{name}: {line[:200]!r}"
        for name, line in lines
        if _SIGNED.search(line) or any(value in line for value in values)
    ]
