"""An upload in parts that was interrupted: the same command goes on, and only where it may."""

import asyncio
import json
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from parts_standin import PartsStandIn
from put_command import finished, put_command
from uploader_standin import KEY, QUICK, MakeFile, Recorder

from broker.contract import State
from uploader import Notes, SessionLost, StoreRefused, Unreachable, Uploader, UploadResult, WaitTimedOut, events
from uploader.report import status_text
from uploader.resume import Note, Page, state_directory

MIB = 1 << 20
LARGE = 16 * MIB  # sixteen parts
JOBS = 3


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "xdg" / "upload-broker"


@asynccontextmanager
async def remembering(parted: PartsStandIn, state: Path) -> AsyncIterator[Uploader]:
    notes = Notes(state)
    async with Uploader(parted.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2), notes=notes) as uploader:
        yield uploader


async def put(parted: PartsStandIn, state: Path, path: Path, **wishes: Any) -> UploadResult:
    async with remembering(parted, state) as uploader:
        return await uploader.put(path, **({"jobs": JOBS} | wishes))


async def interrupt(parted: PartsStandIn, state: Path, path: Path, *, stored: int = 5, **wishes: Any) -> None:
    """Cancel an upload when so many parts are stored and the next ones are under way."""
    parted.store_faults.extend([None] * stored + ["hold"] * JOBS)
    task = asyncio.create_task(put(parted, state, path, **wishes))
    await parted.until(stored=stored, begun=stored + JOBS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    parted.store_faults.clear()


def sessions(parted: PartsStandIn) -> list[State]:
    return [session.state for session in parted.sessions.values()]


def resumed(recorder: Recorder) -> tuple[int, int] | None:
    found = [event for event in recorder.events if isinstance(event, events.Resumed)]
    return (found[0].stored_parts, found[0].part_count) if found else None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def notes(state: Path) -> list[Path]:
    return list(state.glob("*"))


async def test_an_interrupted_upload_goes_on_with_what_is_missing(
    parted: PartsStandIn, state: Path, make_file: MakeFile, recorder: Recorder
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path, observer=recorder)
    assert (sessions(parted), len(notes(state))) == ([State.PENDING], 1)
    assert isinstance(recorder.events[-1], events.Kept)
    result = await put(parted, state, path, observer=recorder)
    assert (result.state, result.attempts, resumed(recorder)) == (State.VERIFIED, 11, (5, 16))
    assert (result.sent_bytes, recorder.meters[-1].done_bytes) == (11 * MIB, LARGE)
    assert len(parted.sent_numbers) <= 16 + JOBS
    assert (sessions(parted), notes(state)) == ([State.VERIFIED], [])


async def test_a_killed_command_re_sends_no_more_than_was_under_way(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    for stored in (3, 4):
        already, begun = parted.stored_count(), len(parted.sent_numbers)
        parted.store_faults.extend([None] * stored + ["hold"] * JOBS)
        process = await command(parted, state, path)
        await parted.until(stored=already + stored, begun=begun + stored + JOBS)
        process.kill()
        await asyncio.wait_for(process.wait(), 20)
    code, _, err = await finished(await command(parted, state, path))
    assert code == 0, err
    assert "data.bin: resumed: 7 of 16 parts were there" in err
    assert sorted(parted.times_sent()) == list(range(1, 17))
    assert len(parted.sent_numbers) <= 16 + 2 * JOBS
    assert (sessions(parted), notes(state)) == ([State.VERIFIED], [])


@pytest.mark.parametrize("call", ["mint", "parts", "complete", "get"])
async def test_killed_at_any_call_the_same_command_ends_verified_and_no_part_is_sent_for_nothing(
    parted: PartsStandIn, state: Path, make_file: MakeFile, call: str
) -> None:
    path = make_file(LARGE)
    parted.first_page = 4
    parted.looks_until_verified = 1000
    process = await command(parted, state, path)
    await parted.seen(call)
    process.kill()
    await asyncio.wait_for(process.wait(), 20)
    for session in parted.sessions.values():
        session.looks_until_verified = 2
    parted.looks_until_verified = 2
    code, _, err = await finished(await command(parted, state, path))
    assert code == 0, err
    assert len(parted.sent_numbers) <= 16 + JOBS
    assert (sessions(parted)[-1], notes(state)) == (State.VERIFIED, [])
    assert len(parted.sessions) == 1 or call == "mint"  # killed between the mint and its note


async def test_ctrl_c_keeps_the_session_and_says_how_to_go_on(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    parted.store_faults.extend([None] * 5 + ["hold"] * JOBS)
    process = await command(parted, state, path)
    await parted.until(stored=5, begun=5 + JOBS)
    process.send_signal(signal.SIGINT)
    code, out, err = await finished(process)
    (session_id,) = parted.sessions
    assert (code, out, sessions(parted)) == (130, "", [State.PENDING])
    assert f"session {session_id} is kept (interrupted); run the same command again to go on" in err
    assert "Traceback" not in err
    code, out, _ = await finished(await command(parted, state, path, "--json"))
    names = [json.loads(line)["event"] for line in out.splitlines()]
    assert (code, names) == (0, [f"upload.{name}" for name in ("resumed", "sent", "state", "finished")])


async def test_no_resume_neither_remembers_nor_goes_on(parted: PartsStandIn, state: Path, make_file: MakeFile) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    (note,) = notes(state)
    code, _, err = await finished(await command(parted, state, path, "--no-resume"))
    assert (code, sessions(parted), notes(state)) == (0, [State.PENDING, State.VERIFIED], [note])
    assert "resumed" not in err
    parted.store_faults.extend(["hold"] * JOBS)
    begun = len(parted.sent_numbers)
    process = await command(parted, state, path, "--no-resume", "--filename", "other")
    await parted.until(begun=begun + JOBS)
    process.send_signal(signal.SIGINT)
    assert (await finished(process))[0] == 130
    assert (sessions(parted)[-1], notes(state)) == (State.ABORTED, [note])


@pytest.mark.parametrize("change", ["grown", "touched"])
async def test_a_file_that_changed_gets_a_new_session_and_the_old_one_is_aborted(
    parted: PartsStandIn, state: Path, make_file: MakeFile, recorder: Recorder, change: str
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    if change == "grown":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        os.utime(path, ns=(0, 1))
    result = await put(parted, state, path, observer=recorder)
    assert (result.attempts, sessions(parted)) == (17 if change == "grown" else 16, [State.ABORTED, State.VERIFIED])
    (event,) = recorder.of(events.NotResumed)
    assert isinstance(event, events.NotResumed)
    assert event.why == "the file changed"


@pytest.mark.parametrize("end", [State.ABORTED, State.EXPIRED, State.REJECTED, State.FAILED, None])
async def test_a_session_that_has_ended_or_is_unknown_is_replaced_by_a_new_one(
    parted: PartsStandIn, state: Path, make_file: MakeFile, recorder: Recorder, end: State | None
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    (session,) = parted.sessions.values()
    if end is None:
        parted.sessions["away"] = parted.sessions.pop(session.id)
    else:
        session.state = end
    result = await put(parted, state, path, observer=recorder)
    assert (result.state, result.attempts, resumed(recorder)) == (State.VERIFIED, 16, None)
    assert (len(recorder.of(events.NotResumed)), notes(state)) == (1, [])


async def test_a_session_that_was_verified_unheard_is_the_result(
    parted: PartsStandIn, state: Path, make_file: MakeFile, recorder: Recorder
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    sent = len(parted.sent_numbers)
    (session,) = parted.sessions.values()
    session.state = State.VERIFIED
    result = await put(parted, state, path, observer=recorder)
    assert (result.session_id, result.attempts, len(parted.sent_numbers)) == (session.id, 0, sent)
    assert (resumed(recorder), notes(state)) == ((0, 0), [])


async def test_after_a_wait_that_timed_out_nothing_is_sent_again(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    parted.looks_until_verified = 1000
    with pytest.raises(WaitTimedOut):
        await put(parted, state, path, timeout=timedelta(seconds=0.2))
    (session,) = parted.sessions.values()
    session.looks_until_verified = 1
    result = await put(parted, state, path)
    assert (result.state, len(parted.sent_numbers), len(parted.sessions)) == (State.VERIFIED, 16, 1)


async def test_missing_parts_beyond_what_the_status_names_are_sent_as_well(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    parted.shown_missing = 2
    await interrupt(parted, state, path)
    result = await put(parted, state, path)
    assert (result.state, result.attempts) == (State.VERIFIED, 11)


async def test_a_store_that_cannot_say_what_is_missing_is_asked_again_and_the_note_stays(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    parted.unclear = 100
    with pytest.raises(Unreachable, match="does not say which parts"):
        await put(parted, state, path)
    assert sessions(parted) == [State.PENDING]
    parted.unclear = 2
    assert (await put(parted, state, path)).attempts == 11


async def test_a_final_failure_aborts_and_forgets_unless_the_session_is_kept(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    parted.part_faults[2].append("refuse-early")
    with pytest.raises(StoreRefused):
        await put(parted, state, path, keep_session=True)
    assert (sessions(parted), len(notes(state))) == ([State.PENDING], 1)
    parted.part_faults[2].append("refuse-early")
    with pytest.raises(StoreRefused):
        await put(parted, state, path)
    assert (sessions(parted), notes(state)) == ([State.ABORTED], [])


async def test_a_session_that_comes_to_a_bad_end_is_forgotten(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    parted.ends_at = State.REJECTED
    with pytest.raises(SessionLost):
        await put(parted, state, make_file(LARGE))
    assert notes(state) == []


async def test_a_failure_that_cannot_even_abort_leaves_the_note(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    parted.part_faults[2].append("refuse-early")
    parted.broker_faults["abort"].extend(["busy"] * 9)
    with pytest.raises(StoreRefused):
        await put(parted, state, path)
    assert (sessions(parted), len(notes(state))) == ([State.PENDING], 1)


async def test_two_commands_at_a_time_never_share_a_session(
    parted: PartsStandIn, state: Path, make_file: MakeFile, recorder: Recorder
) -> None:
    path = make_file(LARGE)
    parted.store_faults.extend(["hold"] * JOBS)
    first = asyncio.create_task(put(parted, state, path))
    await parted.until(begun=JOBS)
    second = await put(parted, state, path, observer=recorder)
    assert (second.state, second.attempts, resumed(recorder)) == (State.VERIFIED, 16, None)
    parted.may_go_on.set()
    assert (await asyncio.wait_for(first, 30)).session_id != second.session_id
    assert notes(state) == []


@pytest.mark.parametrize("wish", [{"destination": "other"}, {"metadata": {"a": "b"}}, {"checksum": "md5"}])
async def test_another_declaration_is_another_upload(
    parted: PartsStandIn, state: Path, make_file: MakeFile, wish: dict[str, Any]
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    result = await put(parted, state, path, **wish)
    assert (result.attempts, sessions(parted), len(notes(state))) == (16, [State.PENDING, State.VERIFIED], 1)


async def test_a_note_is_its_owners_alone_and_holds_no_secret(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    (note,) = notes(state)
    assert (mode(state), mode(note)) == (0o700, 0o600)
    held = json.loads(note.read_text())
    (session_id,) = parted.sessions
    expires_at = held.pop("expires_at")
    assert datetime.fromisoformat(expires_at) > datetime.now(UTC)
    assert held == {
        "broker": parted.broker_url,
        "path": str(path),
        "size_bytes": LARGE,
        "mtime_ns": path.stat().st_mtime_ns,
        "session_id": session_id,
    }


@pytest.mark.parametrize("text", [b"", b'{"broker": "http://', b"\xff\xfe", b"[]"])
async def test_a_note_that_was_half_written_counts_as_none(
    parted: PartsStandIn, state: Path, make_file: MakeFile, text: bytes
) -> None:
    path = make_file(LARGE)
    await interrupt(parted, state, path)
    notes(state)[0].write_bytes(text)
    result = await put(parted, state, path)
    assert (result.state, result.attempts, notes(state)) == (State.VERIFIED, 16, [])


async def test_where_no_note_can_be_left_an_upload_works_and_an_interrupt_aborts_it(
    parted: PartsStandIn, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    state = path / "below a file"
    await interrupt(parted, state, path)
    assert sessions(parted) == [State.ABORTED]
    assert (await put(parted, state, path)).state is State.VERIFIED


async def test_notes_of_sessions_whose_time_is_over_are_cleared_away(parted: PartsStandIn, state: Path) -> None:
    for number, hours in enumerate((-1, 1)):
        note = Note(
            broker="b",
            path="p",
            size_bytes=1,
            mtime_ns=1,
            session_id="s",
            expires_at=datetime.now(UTC) + timedelta(hours=hours),
        )
        page = Page(state / f"{number}.json")
        assert page.write(note)
        page.close()
    async with remembering(parted, state):
        pass
    assert [path.name for path in notes(state)] == ["1.json"]


def test_a_note_is_locked_while_somebody_works_on_it(state: Path) -> None:
    ours, theirs = Page(state / "x.json"), Page(state / "x.json")
    note = Note(broker="b", path="p", size_bytes=1, mtime_ns=1, session_id="s", expires_at=datetime.now(UTC))
    assert ours.write(note)
    assert theirs.read() is None
    assert not theirs.write(note)
    ours.close()
    assert theirs.read() == note
    theirs.remove()
    assert notes(state) == []


def test_notes_lie_where_the_xdg_specification_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    assert state_directory({}) == Path("/home/u/.local/state/upload-broker")
    assert state_directory({"XDG_STATE_HOME": "relative"}) == Path("/home/u/.local/state/upload-broker")
    assert state_directory({"XDG_STATE_HOME": "/s"}) == Path("/s/upload-broker")


async def test_the_status_of_an_interrupted_upload_says_how_far_it_is(
    parted: PartsStandIn, state: Path, make_file: MakeFile
) -> None:
    await interrupt(parted, state, make_file(LARGE))
    async with remembering(parted, state) as uploader:
        shown = status_text(await uploader.status(*parted.sessions))
    assert "  5 of 16 parts are there, 5.00 MiB" in shown.splitlines()


async def command(parted: PartsStandIn, state: Path, path: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await put_command(parted.broker_url, state, path, "--jobs", str(JOBS), *arguments)
