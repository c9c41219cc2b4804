"""What the parent of an upload and its senders say to each other arrives as it was said, or not at all."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import pytest
from uploader_standin import KEY, QUICK

from uploader import TreeOrder, events
from uploader.transfer.meter import TreeMeter
from uploader.transfer.parallel_crew import FromSenders
from uploader.transfer.parallel_desk import Desk
from uploader.transfer.parallel_process import environment_of
from uploader.transfer.parallel_steps import FarSteps
from uploader.transfer.parallel_sum import Share, gauge_of
from uploader.transfer.parallel_wire import MAX_FRAME_BYTES, Begin, Frames, Ready, Scanned, Stop, to_sender
from uploader.tree.errors import ManifestUnusable
from uploader.tree.filters import Filters
from uploader.tree.rows import Failed, Mark, Minted, Row
from uploader.tree.states import FileState

ROW = Row(
    id=1,
    root=b"/caf\xe9",
    path=b"new\nline",
    size_bytes=1 << 50,
    mtime_ns=-1_500_000_000,
    mode=0o640,
    state=FileState.CLAIMED,
    revision=3,
    checksum='{"md5":"x"}',
    session_id="s",
    attempts=2,
    error_code=None,
    error_message="\u202e",
    gone_ms=None,
    updated_ms=5,
)
MARKS = [Mark(id=1, revision=3), Mark(id=1 << 60, revision=0)]
STEPS: list[tuple[str, tuple[Any, ...]]] = [
    ("take", (500,)),
    ("minted", ([Minted(id=1, revision=3, session_id="s", checksum="c"), Minted(id=2, revision=0, session_id="t")],)),
    ("sent", (MARKS,)),
    ("verified", (MARKS,)),
    ("failed", ([Failed(id=1, revision=3, code="file-changed", message="…")], ["s"])),
    ("released", (MARKS,)),
    ("renewed", (MARKS, ["s", "t"])),
    ("changed", ([ROW, ROW],)),
]


class Recording:
    """Steps that remember what they were told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []
        self.trouble: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        async def step(*words: Any) -> Any:
            if self.trouble:
                raise self.trouble
            self.told.append((name, words))
            return {"take": [ROW], "changed": [True, False]}.get(name)

        return step


class Pair:
    """A sender's end and the parent's, with a desk behind it."""

    def __init__(self, steps: Recording, far: Frames, near: Frames) -> None:
        self.steps = steps
        self.far = far
        self.far_steps = FarSteps(far)
        self.gauges: list[Any] = []
        self.heard: list[bytes] = []
        self.has_abandoned = asyncio.Event()
        self.desk = Desk(
            steps,
            near,
            has_abandoned=self.has_abandoned,
            greet=lambda: (Scanned(),),
            gauge=self.gauges.append,
            told=self.heard.append,
        )
        self.serving = asyncio.create_task(self.desk.serve())
        self.hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        while (frame := await self.far.read()) is not None:
            answer = to_sender(frame)
            if not isinstance(answer, Scanned):
                self.far_steps.answered(answer)  # type: ignore[arg-type]

    async def died(self) -> None:
        await self.far.close()
        await asyncio.wait_for(self.serving, 5)


@asynccontextmanager
async def a_pair() -> AsyncIterator[Pair]:
    ours, its = socket.socketpair()
    pair = Pair(Recording(), await Frames.over(its), await Frames.over(ours))
    try:
        yield pair
    finally:
        pair.hearing.cancel()
        await pair.died()


@pytest.mark.parametrize(("name", "words"), STEPS, ids=[name for name, _ in STEPS])
async def test_a_step_is_taken_as_it_was_asked_for(name: str, words: tuple[Any, ...]) -> None:
    async with a_pair() as pair:
        answer = await asyncio.wait_for(getattr(pair.far_steps, name)(*words), 5)
    assert pair.steps.told[0] == (name, words)
    assert answer == {"take": [ROW], "changed": [True, False]}.get(name)
    assert pair.has_abandoned.is_set() is (name in {"failed", "renewed"})


async def test_many_steps_are_under_way_at_a_time_and_each_gets_its_own_answer() -> None:
    async with a_pair() as pair:
        answers = await asyncio.gather(*(getattr(pair.far_steps, name)(*words) for name, words in STEPS * 20))
    assert answers == [{"take": [ROW], "changed": [True, False]}.get(name) for name, _ in STEPS * 20]


async def test_a_manifest_that_cannot_be_written_is_said_to_the_sender() -> None:
    async with a_pair() as pair:
        pair.steps.trouble = ManifestUnusable("/m: disk full")
        with pytest.raises(ManifestUnusable, match="disk full"):
            await pair.far_steps.verified(MARKS)
        pair.steps.trouble = None


async def test_a_fault_of_ours_ends_the_sender_and_is_raised_here() -> None:
    async with a_pair() as pair:
        pair.steps.trouble = ZeroDivisionError()
        asking = asyncio.create_task(pair.far_steps.verified(MARKS))
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(pair.serving, 5)
        await asyncio.wait_for(pair.hearing, 5)  # it hears that nobody is there any more
        asking.cancel()
        pair.serving = asyncio.create_task(asyncio.sleep(0))


async def test_of_a_sender_that_dies_only_what_it_had_merely_claimed_is_pending_again() -> None:
    async with a_pair() as pair:
        await pair.far_steps.take(1)
        await pair.died()
        assert pair.steps.told[-1] == ("released", ([Mark(id=ROW.id, revision=ROW.revision)],))
        assert pair.desk.ended is None


async def test_what_has_a_session_is_left_to_whoever_asks_the_broker() -> None:
    async with a_pair() as pair:
        await pair.far_steps.take(1)
        await pair.far_steps.minted([Minted(id=ROW.id, revision=ROW.revision, session_id="s")])
        await pair.died()
        assert [name for name, _ in pair.steps.told] == ["take", "minted"]


async def test_a_step_that_was_asked_for_before_the_death_is_taken() -> None:
    async with a_pair() as pair:
        asking = asyncio.create_task(pair.far_steps.verified(MARKS))
        await asyncio.sleep(0)
        await pair.died()
        asking.cancel()
        assert ("verified", (MARKS,)) in pair.steps.told


async def test_a_sender_is_greeted_once_it_runs() -> None:
    ours, its = socket.socketpair()
    far, near = await Frames.over(its), await Frames.over(ours)
    nothing = asyncio.Event()
    desk = Desk(
        Recording(),
        near,
        has_abandoned=nothing,
        greet=lambda: (Stop(), Scanned()),
        gauge=lambda _: None,
        told=lambda _: None,
    )
    serving = asyncio.create_task(desk.serve())
    assert not desk.is_ready
    far.send(Ready())
    said = [to_sender(await far.read() or b""), to_sender(await far.read() or b"")]
    assert [type(each) for each in said] == [Stop, Scanned]
    assert desk.is_ready
    await far.close()
    await asyncio.wait_for(serving, 5)


@pytest.mark.parametrize("cut", [b"", b"\0", b"\0\0\0\5", b"\0\0\0\5abc"])
async def test_an_end_in_the_middle_of_a_frame_is_an_end(cut: bytes) -> None:
    ours, its = socket.socketpair()
    frames = await Frames.over(ours)
    its.sendall(cut)
    its.close()
    assert await asyncio.wait_for(frames.read(), 5) is None
    frames.send(Ready())  # nobody hears it, and nobody is told
    await frames.close()


async def test_what_is_no_frame_of_ours_is_not_waited_for() -> None:
    ours, its = socket.socketpair()
    frames = await Frames.over(ours)
    its.sendall((MAX_FRAME_BYTES + 1).to_bytes(4))
    with pytest.raises(ValueError, match="a frame of"):
        await frames.read()
    its.close()
    await frames.close()


async def test_what_a_sender_must_know_reaches_it_whole() -> None:
    order = TreeOrder(
        destinations=("eu", "us"),
        batch="b",
        metadata={"a": "b"},
        checksum="md5",
        wait="processed",
        mode="parallel",
        filters=Filters.parse(["*.jpg"], [".git/"]),
    )
    begin = Begin(
        broker="http://b",
        key=KEY,
        order=order.divided,
        manifest="m",
        wants_files=True,
        retry=QUICK,
        stall_seconds=1.5,
        answer_seconds=2,
    )
    ours, its = socket.socketpair()
    near, far = await Frames.over(ours), await Frames.over(its)
    near.send(begin)
    assert to_sender(await far.read() or b"") == begin
    assert KEY not in repr(begin)
    await near.close()
    await far.close()


def test_every_event_that_a_sender_may_tell_is_understood() -> None:
    of_the_parent = {events.TreeBegan, events.TreeScanned, events.TreeProgressed, events.TreeFinished}
    of_a_run = {each for each in events.TreeEvent.__subclasses__() if each.__module__ == events.__name__}
    assert of_a_run - of_the_parent == set(get_args(FromSenders))


def test_the_key_is_in_no_variable_of_a_sender() -> None:
    environ = {"PATH": "/bin", "BROKER_API_KEY": KEY, "OTHER": f"Bearer {KEY}"}
    assert environment_of(environ, KEY) == {"PATH": "/bin"}


# --- one meter of many


def test_what_senders_did_stays_counted_and_what_was_under_way_does_not() -> None:
    whole, own = TreeMeter(verified_files=7), TreeMeter()
    one, other = Share(whole), Share(whole)
    film = events.Meter("film", 100, "sending")
    own.sent_files, own.sent_bytes, own.verified_files, own.concurrency, own.limit = 3, 30, 2, 5, 8
    own.large.append(film)
    film.done_bytes = 40
    one.add(gauge_of(own, 0.5))
    other.add(gauge_of(own, None))
    assert (whole.sent_files, whole.sent_bytes, whole.verified_files) == (6, 60, 11)
    assert (whole.concurrency, whole.limit, whole.moved_bytes) == (10, 16, 60 + 80)
    own.sent_files, film.done_bytes = 4, 90
    one.add(gauge_of(own, 0.5))
    assert (whole.sent_files, [meter.done_bytes for meter in whole.large]) == (7, [90, 40])
    own.large.clear()
    one.add(gauge_of(own, 0.5))
    other.end()
    assert (whole.sent_files, whole.concurrency, whole.limit, whole.large) == (7, 5, 8, [])
