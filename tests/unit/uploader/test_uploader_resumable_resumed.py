"""A resumable upload that was interrupted: the next command asks the store how far it is, and goes on there."""

import asyncio
import hashlib
import json
import signal
from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from put_command import finished, put_command
from resumable_standin import ResumableStandIn
from uploader_standin import KEY, QUICK, MakeFile, Recorder

from broker.contract import State
from uploader import Notes, Unreachable, Uploader, UploadResult, events, resumable
from uploader.report import status_json, status_text

MIB = 1 << 20
LARGE = 7 * MIB + 17  # eight pieces of a MiB
HUGE = 4 * 16 * MIB + 17  # five pieces of a process of its own


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "xdg" / "upload-broker"


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "CHUNK_BYTES", MIB)


async def put(store: ResumableStandIn, state: Path | None, path: Path, **wishes: Any) -> UploadResult:
    stall = timedelta(seconds=2)
    notes = Notes(state) if state else None
    async with Uploader(store.broker_url, KEY, retry=QUICK, stall=stall, notes=notes) as uploader:
        return await uploader.put(path, strategy="resumable", **wishes)


async def interrupt(store: ResumableStandIn, state: Path | None, path: Path, *, kept: int = 3, **wishes: Any) -> None:
    """Cancel an upload when the store has so many pieces and the next one is under way."""
    store.faults.extend([None] * kept + ["hold"])
    task = asyncio.create_task(put(store, state, path, **wishes))
    await store.until(kept=kept * MIB, begun=kept + 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    store.faults.clear()


async def command(store: ResumableStandIn, state: Path, path: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await put_command(store.broker_url, state, path, "--strategy", "resumable", *arguments)


def is_there(store: ResumableStandIn, path: Path) -> bool:
    (stored,) = store.objects.values()
    digest = b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
    assert (stored.size_bytes, stored.sha256) == (path.stat().st_size, digest)
    return list(store.committed.values()) == [1]


def states(store: ResumableStandIn) -> list[State]:
    return [session.state for session in store.sessions.values()]


def notes(state: Path) -> list[Path]:
    return list(state.glob("*"))


def begins(store: ResumableStandIn) -> list[int]:
    return [int(each.removeprefix("bytes ").partition("-")[0]) for each in store.pieces]


@pytest.mark.usefixtures("small_pieces")
async def test_the_next_call_goes_on_where_the_store_is(
    store: ResumableStandIn, state: Path, make_file: MakeFile, recorder: Recorder
) -> None:
    path = make_file(LARGE)
    await interrupt(store, state, path, observer=recorder)
    assert (states(store), len(notes(state))) == ([State.PENDING], 1)
    assert isinstance(recorder.events[-1], events.Kept)
    result = await put(store, state, path, observer=recorder)
    (resumed,) = recorder.of(events.Resumed)
    assert isinstance(resumed, events.Resumed)
    assert (resumed.stored_bytes, resumed.size_bytes) == (3 * MIB, LARGE)
    assert (result.state, result.attempts, result.sent_bytes) == (State.VERIFIED, 5, LARGE - 3 * MIB)
    assert (begins(store)[4:], len(store.uploads)) == ([n * MIB for n in range(3, 8)], 1)
    assert (is_there(store, path), states(store), notes(state)) == (True, [State.VERIFIED], [])


@pytest.mark.usefixtures("small_pieces")
async def test_the_same_idempotency_key_goes_on_without_a_note(
    store: ResumableStandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    path = make_file(LARGE)
    await interrupt(store, None, path, idempotency_key="film-17")
    result = await put(store, None, path, idempotency_key="film-17", observer=recorder)
    assert (result.state, result.attempts, is_there(store, path)) == (State.VERIFIED, 5, True)
    assert recorder.meters[-1].done_bytes == LARGE


@pytest.mark.usefixtures("small_pieces")
async def test_what_the_broker_cannot_say_the_store_is_asked(
    store: ResumableStandIn, state: Path, make_file: MakeFile, recorder: Recorder
) -> None:
    path = make_file(LARGE)
    await interrupt(store, state, path)
    store.is_told_by_status = False
    result = await put(store, state, path, observer=recorder)
    assert (result.attempts, is_there(store, path)) == (5, True)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("is_open_still", [True, False])
async def test_an_upload_that_went_away_meanwhile_begins_anew_in_the_same_session(
    store: ResumableStandIn, state: Path, make_file: MakeFile, is_open_still: bool
) -> None:
    """Cancelled at the store; the broker finds that out when it is asked, or the store says it of the old URL."""
    path = make_file(LARGE)
    await interrupt(store, state, path)
    (upload,) = store.uploads.values()
    if is_open_still:
        store.query_faults.append("410")
    else:
        upload.is_cancelled = True
    result = await put(store, state, path)
    assert (result.state, result.attempts, is_there(store, path)) == (State.VERIFIED, 8, True)
    assert (len(store.sessions), len(store.uploads)) == (1, 2)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("looks", [0, 1])
async def test_what_was_committed_before_the_end_is_not_sent_again(
    store: ResumableStandIn, state: Path, make_file: MakeFile, looks: int
) -> None:
    """The last piece arrived, nobody heard. The broker's look finds it at once, or the store's word comes first."""
    path = make_file(LARGE)
    store.faults.extend([None] * 7 + ["silent"])
    task = asyncio.create_task(put(store, state, path))
    await store.until(kept=LARGE, begun=8)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    (session,) = store.sessions.values()
    session.looks_until_verified = looks + 1  # its status, asked first, is a look as well
    result = await put(store, state, path)
    assert (result.state, result.attempts, result.sent_bytes) == (State.VERIFIED, 0, 0)
    assert (store.received_bytes.total(), is_there(store, path)) == (LARGE, True)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda path, _: path.write_bytes(b"x" * LARGE), "the file changed"),
        (lambda _, session: setattr(session, "state", State.EXPIRED), "it is expired"),
        (lambda _, session: setattr(session, "state", State.ABORTED), "it is aborted"),
    ],
)
async def test_what_is_of_no_use_any_more_begins_anew_in_another_session(
    store: ResumableStandIn,
    state: Path,
    make_file: MakeFile,
    recorder: Recorder,
    change: Callable[[Path, Any], None],
    why: str,
) -> None:
    path = make_file(LARGE)
    await interrupt(store, state, path)
    change(path, *store.sessions.values())
    result = await put(store, state, path, observer=recorder)
    (event,) = recorder.of(events.NotResumed)
    assert isinstance(event, events.NotResumed)
    assert (event.why, result.attempts, len(store.sessions)) == (why, 8, 2)
    assert notes(state) == []


async def test_killed_again_and_again_a_command_sends_nothing_that_is_there(
    store: ResumableStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(HUGE)
    for kept in (1, 2, 3):
        store.faults.extend([None, "hold"])
        process = await command(store, state, path)
        await store.until(kept=kept * 16 * MIB, begun=2 * kept)
        process.kill()
        await asyncio.wait_for(process.wait(), 20)
    code, _, err = await finished(await command(store, state, path))
    assert code == 0, err
    assert "data.bin: resumed: 48.00 MiB of 64.00 MiB were there" in err
    assert begins(store) == [n * 16 * MIB for n in (0, 1, 1, 2, 2, 3, 3, 4)]
    assert (is_there(store, path), store.received_bytes.total()) == (True, HUGE)
    assert (states(store), notes(state)) == ([State.VERIFIED], [])


@pytest.mark.parametrize("call", ["mint", "complete", "get"])
async def test_killed_at_any_call_the_same_command_ends_verified(
    store: ResumableStandIn, state: Path, make_file: MakeFile, call: str
) -> None:
    path = make_file(HUGE)
    store.looks_until_verified = 1000
    process = await command(store, state, path)
    await store.seen(call)
    process.kill()
    await asyncio.wait_for(process.wait(), 20)
    for session in store.sessions.values():
        session.looks_until_verified = 2
    store.looks_until_verified = 2
    code, _, err = await finished(await command(store, state, path))
    assert code == 0, err
    assert (states(store)[-1], notes(state)) == (State.VERIFIED, [])
    assert len(store.sessions) == 1 or call == "mint"  # killed between the mint and its note
    if call != "mint":
        assert (is_there(store, path), store.received_bytes.total()) == (True, HUGE)


async def test_ctrl_c_keeps_the_session_and_status_says_how_far_it_is(
    store: ResumableStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(HUGE)
    store.faults.extend([None, None, "hold"])
    process = await command(store, state, path)
    await store.until(kept=32 * MIB, begun=3)
    process.send_signal(signal.SIGINT)
    code, out, err = await finished(process)
    (session_id,) = store.sessions
    assert (code, out, states(store)) == (130, "", [State.PENDING])
    assert f"session {session_id} is kept (interrupted); run the same command again to go on" in err
    async with Uploader(store.broker_url, KEY) as uploader:
        status = await uploader.status(session_id)
    assert "  32.00 MiB of 64.00 MiB are there" in status_text(status).splitlines()
    assert json.loads(status_json(status))["offset_bytes"] == 32 * MIB
    code, out, _ = await finished(await command(store, state, path, "--json"))
    told = [event for line in out.splitlines() if (event := json.loads(line))["event"] != "upload.progressed"]
    assert (code, [event["event"].partition(".")[2] for event in told]) == (0, ["resumed", "sent", "state", "finished"])
    assert (told[0]["stored_bytes"], told[0]["size_bytes"]) == (32 * MIB, HUGE)


@pytest.mark.usefixtures("small_pieces")
async def test_what_nobody_answers_is_kept_for_the_next_command(
    store: ResumableStandIn, state: Path, make_file: MakeFile, recorder: Recorder
) -> None:
    path = make_file(LARGE)
    store.faults.extend([None, None] + ["busy-before"] * 9)
    store.query_faults.extend(["busy"] * 9)
    with pytest.raises(Unreachable):
        await put(store, state, path, observer=recorder)
    kept = recorder.events[-1]
    assert isinstance(kept, events.Kept)
    assert (kept.why, states(store), len(notes(state))) == ("unreachable", [State.PENDING], 1)
    store.faults.clear()
    store.query_faults.clear()
    result = await put(store, state, path)
    assert (result.state, result.sent_bytes, notes(state)) == (State.VERIFIED, LARGE - 2 * MIB, [])


@pytest.mark.usefixtures("small_pieces")
async def test_the_url_is_never_written_down(store: ResumableStandIn, state: Path, make_file: MakeFile) -> None:
    path = make_file(LARGE)
    await interrupt(store, state, path)
    (note,) = notes(state)
    held = json.loads(note.read_text())
    assert set(held) == {"broker", "path", "size_bytes", "mtime_ns", "session_id", "expires_at", "strategy"}
    assert held["strategy"] == "resumable"
    assert not [key for key in store.uploads if key in note.read_text()]
