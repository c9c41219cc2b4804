"""An upload in parts: what arrives, what is repeated, what ends it."""

import asyncio
import hashlib
import logging
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from parts_standin import PartsStandIn
from uploader_standin import KEY, QUICK, TOKEN, MakeFile, Recorder, serving

from broker.contract import PartRequest, SignedRequest, State
from uploader import FileChanged, SessionLost, StoreRefused, Unreachable, Uploader, events, grants, pump
from uploader.checksums import chosen
from uploader.grants import Grants

MIB = 1 << 20
LARGE = 7 * MIB + 17  # eight parts


def digests(path: Path, part_size_bytes: int) -> dict[int, str]:
    data = path.read_bytes()
    pieces = range(0, len(data), part_size_bytes)
    return {n: hashlib.sha256(data[at : at + part_size_bytes]).hexdigest() for n, at in enumerate(pieces, 1)}


def arrived(parted: PartsStandIn) -> dict[int, str]:
    (parts,) = parted.stored_parts.values()
    return {number: part.sha256 for number, part in parts.items()}


@pytest.mark.parametrize("size", [MIB + 1, 2 * MIB, LARGE])
async def test_every_part_is_the_right_piece_of_the_file(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, size: int, recorder: Recorder
) -> None:
    path = make_file(size)
    result = await parts_uploader.put(path, observer=recorder)
    assert arrived(parted) == digests(path, MIB)
    assert (result.state, result.attempts, result.sent_bytes) == (State.VERIFIED, -(-size // MIB), size)
    (meter,) = recorder.meters
    assert (meter.phase, meter.done_bytes) == ("waiting", size)
    (sent,) = recorder.of(events.Sent)
    assert isinstance(sent, events.Sent)
    assert (sent.parts, sent.size_bytes) == (-(-size // MIB), size)


async def test_bytes_in_memory_go_in_parts_as_well(parts_uploader: Uploader, parted: PartsStandIn) -> None:
    data = os.urandom(LARGE)
    await parts_uploader.put(data, filename="x")
    assert b"".join(data[(n - 1) * MIB : n * MIB] for n in sorted(arrived(parted))) == data
    assert arrived(parted)[8] == hashlib.sha256(data[7 * MIB :]).hexdigest()


async def test_without_sendfile_parts_go_through_the_transport(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "IS_AVAILABLE", False)
    path = make_file(LARGE)
    await parts_uploader.put(path)
    assert arrived(parted) == digests(path, MIB)


async def test_a_single_put_may_still_be_asked_for(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    await parts_uploader.put(make_file(LARGE), strategy="put")
    assert (len(parted.puts), parted.sent_numbers) == (1, [])


@pytest.mark.parametrize("jobs", [1, 5])
async def test_so_many_parts_are_under_way_and_no_more(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, jobs: int
) -> None:
    parted.store_faults.extend(["hold"] * jobs)
    task = asyncio.create_task(parts_uploader.put(make_file(LARGE), jobs=jobs))
    await parted.until(begun=jobs)
    parted.may_go_on.set()
    await asyncio.wait_for(task, 30)
    assert parted.most_under_way == jobs
    with pytest.raises(ValueError, match="jobs is 1 to 32"):
        await parts_uploader.put(b"", filename="x", jobs=33)


@pytest.mark.parametrize("fault", ["conflict", "slow-down", "too-many", "reset", "stall", "lost-response", "expired"])
async def test_a_part_in_trouble_is_sent_again_and_only_that_part(
    parted: PartsStandIn, make_file: MakeFile, fault: str
) -> None:
    parted.part_size_bytes = 6 * MIB  # more than socket buffers take in advance
    parted.part_faults[2].append(fault)
    path = make_file(3 * 6 * MIB + 1)
    async with Uploader(parted.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=0.5)) as uploader:
        result = await uploader.put(path)
    assert (result.state, result.attempts) == (State.VERIFIED, 5)
    assert parted.times_sent() == {1: 1, 2: 2, 3: 1, 4: 1}
    assert arrived(parted) == digests(path, 6 * MIB)


async def test_trouble_that_does_not_end_is_bounded_and_the_session_aborted(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.part_faults[5].extend(["slow-down"] * 10)
    with pytest.raises(Unreachable, match="part 5 after 4 attempts; last: 503 SlowDown"):
        await parts_uploader.put(make_file(LARGE))
    assert parted.times_sent()[5] == QUICK.attempts
    assert [session.state for session in parted.sessions.values()] == [State.ABORTED]


@pytest.mark.parametrize(("fault", "sent"), [("refuse-early", 1), ("forbidden", 3)])
async def test_a_part_that_is_refused_stops_the_others_and_aborts_the_session(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, fault: str, sent: int
) -> None:
    parted.part_faults[2].extend([fault] * 9)
    parted.part_faults[1].append("hold")
    with pytest.raises(StoreRefused, match=r"the store refuses part 2: 40[03] ") as caught:
        await asyncio.wait_for(parts_uploader.put(make_file(LARGE), jobs=2), 20)
    assert parted.times_sent()[2] == sent
    assert caught.value.session_id is not None
    assert parted.sessions[caught.value.session_id].state is State.ABORTED


@pytest.mark.parametrize("keep_session", [False, True])
async def test_cancelling_aborts_the_session_unless_told_otherwise(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, keep_session: bool
) -> None:
    parted.store_faults.extend(["stall"] * 8)
    task = asyncio.create_task(parts_uploader.put(make_file(LARGE), keep_session=keep_session))
    await parted.until(begun=6)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    expected = State.PENDING if keep_session else State.ABORTED
    assert [session.state for session in parted.sessions.values()] == [expected]


async def test_a_file_that_changes_between_two_parts_never_becomes_an_object(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    parted.store_faults.extend([None, None, None, "hold"])
    task = asyncio.create_task(parts_uploader.put(path, jobs=1))
    await parted.until(stored=3, begun=4)
    with path.open("ab") as out:
        out.write(b"more")
    parted.may_go_on.set()
    with pytest.raises(FileChanged, match="grew"):
        await asyncio.wait_for(task, 20)
    assert [session.state for session in parted.sessions.values()] == [State.ABORTED]
    assert not parted.objects


async def test_requests_are_asked_for_page_by_page_and_each_part_is_sent_once(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.part_size_bytes = 1 << 14
    path = make_file(500 << 14)
    result = await parts_uploader.put(path)
    assert (result.attempts, set(parted.times_sent().values())) == (500, {1})
    assert sorted(number for page in parted.pages for number in page) == list(range(101, 501))
    assert max(map(len, parted.pages)) <= grants.PAGE
    assert arrived(parted) == digests(path, 1 << 14)


async def test_a_page_that_expired_is_asked_for_again(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    parted.part_ttls.append(timedelta(seconds=-1))
    result = await parts_uploader.put(make_file(LARGE), jobs=2, observer=recorder)
    assert result.state is State.VERIFIED
    # Two were refused; the other six were not even tried.
    assert sorted(parted.pages) == [[1], [2], [3, 4, 5, 6, 7, 8]]
    assert parted.times_sent() == {1: 2, 2: 2} | dict.fromkeys(range(3, 9), 1)
    assert len(recorder.of(events.Reminted)) == 2


async def test_requests_that_expire_while_they_wait_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []

    async def ask(numbers: object) -> list[PartRequest]:
        asked.append(list(numbers))  # type: ignore[call-overload]
        return [request(number, timedelta(hours=2)) for number in asked[-1]]

    waiting = Grants(ask, range(1, 5), [request(n, timedelta(minutes=10)) for n in (1, 2, 3)])
    first = await waiting.next()
    assert first is not None
    monkeypatch.setattr(grants, "EXPIRY_MARGIN", timedelta(hours=1))  # as if it were an hour later
    rest = [granted.part.number for _ in range(3) if (granted := await waiting.next())]
    assert (first.part.number, sorted(rest), asked) == (1, [2, 3, 4], [[4], [2, 3]])
    assert await waiting.next() is None


async def test_with_a_clock_that_is_fast_requests_are_sent_all_the_same() -> None:
    async def ask(numbers: object) -> list[PartRequest]:
        raise AssertionError(numbers)

    waiting = Grants(ask, [1], [request(1, timedelta(hours=-1))])
    granted = await waiting.next()
    assert granted is not None
    assert not granted.has_expired


def request(number: int, ttl: timedelta) -> PartRequest:
    signed = SignedRequest(method="PUT", url="http://h/s%2Bx", headers={}, expires_at=datetime.now(UTC) + ttl)
    return PartRequest(number=number, offset_bytes=0, size_bytes=1, request=signed)


@pytest.mark.parametrize("completing", [1, 3])
async def test_a_completion_that_somebody_else_is_at_is_asked_for_again(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, completing: int
) -> None:
    parted.completing = completing
    parted.looks_until_verified = 3
    result = await parts_uploader.put(make_file(LARGE))
    assert (result.state, len(parted.sent_numbers)) == (State.VERIFIED, 8)


async def test_wait_none_returns_when_no_part_is_missing(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.looks_until_verified = 1000
    result = await parts_uploader.put(make_file(LARGE), wait="none")
    assert result.state is State.PENDING
    assert len(arrived(parted)) == 8


async def test_a_part_that_the_store_did_not_keep_is_sent_again(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.part_faults[4].append("forget")
    result = await parts_uploader.put(make_file(LARGE))
    assert (result.state, parted.times_sent()[4], result.attempts) == (State.VERIFIED, 2, 9)


async def test_a_store_that_never_keeps_a_part_is_given_up(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.part_faults[4].extend(["forget"] * 9)
    with pytest.raises(Unreachable, match="1 parts are missing although the store took them 3 times"):
        await parts_uploader.put(make_file(LARGE))


async def test_an_upload_that_the_store_has_cleared_away_begins_anew(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.part_faults[5].append("vanish")
    path = make_file(LARGE)
    result = await parts_uploader.put(path)
    assert (result.state, len(parted.sessions)) == (State.VERIFIED, 1)
    assert arrived(parted) == digests(path, MIB)


async def test_a_session_that_ends_meanwhile_is_a_failure(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile
) -> None:
    parted.first_page = 2
    parted.store_faults.append("hold")
    task = asyncio.create_task(parts_uploader.put(make_file(LARGE), jobs=1))
    await parted.until(begun=1)
    (session,) = parted.sessions.values()
    session.state = State.EXPIRED
    parted.may_go_on.set()
    with pytest.raises(SessionLost, match="the session is expired"):
        await asyncio.wait_for(task, 20)


@pytest.mark.parametrize("fault", ["busy", "reset", "lost"])
async def test_every_call_to_the_broker_survives_trouble(
    parts_uploader: Uploader, parted: PartsStandIn, make_file: MakeFile, fault: str
) -> None:
    parted.first_page = 2
    parted.looks_until_verified = 3
    for call in ("mint", "parts", "complete", "get"):
        parted.broker_faults[call].extend([fault, fault])
    result = await parts_uploader.put(make_file(LARGE))
    assert (result.state, len(parted.sessions)) == (State.VERIFIED, 1)


@pytest.mark.parametrize("fault", ["reset", "forbidden", "refuse-early", "lost-response"])
async def test_no_secret_of_a_part_is_in_an_event_an_error_or_a_log(
    parts_uploader: Uploader,
    parted: PartsStandIn,
    make_file: MakeFile,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    parted.part_faults[2].extend([fault] * 9)
    with pytest.raises((StoreRefused, Unreachable)) as caught:
        await parts_uploader.put(make_file(LARGE), observer=recorder)
    seen = [repr(caught.value), str(caught.getrepr()), caplog.text, *map(repr, recorder.events)]
    assert not [text for text in seen for secret in (KEY, TOKEN, "X-Amz-Signature", "s%2Bx") if secret in text]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process took at most")
async def test_parts_of_a_quarter_of_a_gibibyte_take_no_memory(make_file: MakeFile) -> None:
    small, large = make_file(1000, "small"), make_file(256 * MIB, "large")
    async with serving(PartsStandIn(part_size_bytes=16 * MIB)) as parted:
        grown = await _peak_rss(parted.broker_url, large) - await _peak_rss(parted.broker_url, small)
        assert isinstance(parted, PartsStandIn)
        assert len(parted.sent_numbers) == 16
    assert grown < 12 * MIB, f"{grown / MIB:.1f} MiB more for 256 MiB"


async def _peak_rss(broker_url: str, path: Path) -> int:
    """The high-water mark of a fresh process that sends one file, eight parts at a time."""
    code = (
        "import asyncio, os, re, sys; from uploader import Uploader\n"
        "async def main():\n"
        "    async with Uploader(os.environ['URL'], os.environ['KEY']) as uploader:\n"
        "        await uploader.put(sys.argv[1], jobs=8)\n"
        "asyncio.run(main())\n"  # getrusage knows the peak of the parent that forked us
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) * 1024)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(path)),
        env={"PATH": os.environ["PATH"], "URL": broker_url, "KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return int(out)


@pytest.mark.parametrize(
    ("choice", "size", "copies", "algorithms"),
    [
        ("auto", MIB, 0, ("sha256",)),
        ("auto", MIB + 1, 0, ()),
        ("auto", 64 * MIB + 1, 2, ("sha256", "md5")),
        ("sha256", 50 << 30, 0, ("sha256",)),
        ("none", 1, 2, ()),
    ],
)
def test_only_a_file_that_is_not_read_twice_for_it_gets_a_digest_unasked_unless_all_copies_must_prove_one(
    choice: str, size: int, copies: int, algorithms: tuple[str, ...]
) -> None:
    assert chosen(choice, size, copies=copies) == algorithms  # type: ignore[arg-type]
