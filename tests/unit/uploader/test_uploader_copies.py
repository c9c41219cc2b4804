"""One file to several destinations: each copy on its own, nothing twice to a healthy one, and every end told."""

import asyncio
import io
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from copies_standin import CopiesStandIn
from put_command import finished, put_command
from rich.console import Console
from uploader_standin import KEY, QUICK, MakeFile, Recorder

from broker.contract import State
from uploader import (
    BrokerRefused,
    CopiesMissing,
    FileChanged,
    Notes,
    SessionLost,
    Unreachable,
    Uploader,
    UploadResult,
    WaitTimedOut,
    events,
)
from uploader.progress import JsonView, PlainView
from uploader.report import status_text
from uploader.views.bar import BarView

MIB = 1 << 20
LARGE = 8 * MIB
ALL = ("eu", "us", "ap")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "xdg" / "upload-broker"


@asynccontextmanager
async def remembering(copied: CopiesStandIn, state: Path) -> AsyncIterator[Uploader]:
    left = Notes(state)
    async with Uploader(copied.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2), notes=left) as uploader:
        yield uploader


async def put(copied: CopiesStandIn, state: Path, path: Path, **wishes: Any) -> UploadResult:
    async with remembering(copied, state) as uploader:
        return await uploader.put(path, **({"destinations": ALL} | wishes))


def notes(state: Path) -> list[Path]:
    return list(state.glob("*"))


def states(copied: CopiesStandIn) -> dict[str, State]:
    (parent,) = copied.parents.values()
    return {destination: copy.state for destination, copy in parent.copies.items()}


def verified(copied: CopiesStandIn, size_bytes: int) -> bool:
    """Every copy counts and holds the whole file."""
    (parent,) = copied.parents.values()
    stored = [copied.objects[copy.key].size_bytes for copy in parent.copies.values()]
    return set(states(copied).values()) == {State.VERIFIED} and set(stored) == {size_bytes}


@pytest.mark.parametrize("size", [0, 10_000, 3 * MIB, LARGE + 17])
@pytest.mark.parametrize("parted", [set(), {"us"}, set(ALL)])
async def test_every_copy_is_sent_once_and_the_file_is_hashed_once(
    copied: CopiesStandIn,
    copies_uploader: Uploader,
    make_file: MakeFile,
    recorder: Recorder,
    size: int,
    parted: set[str],
) -> None:
    copied.parted = parted
    result = await copies_uploader.put(make_file(size), destinations=ALL, observer=recorder)
    assert (result.state, verified(copied, size)) == (State.VERIFIED, True)
    assert [copy.destination for copy in result.copies] == list(ALL)
    assert (result.missing, result.sent_bytes, set(copied.bytes_to.values())) == ((), 3 * size, {size})
    assert len(recorder.of(events.Hashed)) == 1
    assert recorder.meters[0].done_bytes == recorder.meters[0].total_bytes == 3 * size


async def test_where_a_store_proves_only_the_weaker_digest_both_are_declared(
    copied: CopiesStandIn, state: Path, make_file: MakeFile
) -> None:
    copied.proves = {"us": {"md5"}}
    result = await put(copied, state, make_file(10_000))
    assert (result.state, bool(result.checksum.sha256), bool(result.checksum.md5)) == (State.VERIFIED, True, True)


async def test_a_digest_that_was_asked_for_is_never_weakened(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile
) -> None:
    copied.proves = {"us": {"md5"}}
    with pytest.raises(BrokerRefused, match="checksum-not-provable"):
        await copies_uploader.put(make_file(10), destinations=ALL, checksum="sha256")
    assert (await copies_uploader.put(make_file(10), destinations=ALL, checksum="md5")).checksum.md5


async def test_a_checksum_that_a_store_cannot_prove_is_told_with_the_store(
    copied: CopiesStandIn, make_file: MakeFile, state: Path
) -> None:
    copied.proves = {"us": {"crc64nvme"}}
    with pytest.raises(BrokerRefused, match=r"(?s)proved by us.*\[checksum-not-provable, 422\].*/checksum") as caught:
        await put(copied, state, make_file(10_000))
    assert (caught.value.exit_code, notes(state)) == (3, [])


@pytest.mark.parametrize("size", [10_000, 3 * MIB])
async def test_a_copy_that_is_down_holds_up_none_and_is_sent_alone_when_it_is_back(
    copied: CopiesStandIn, state: Path, make_file: MakeFile, recorder: Recorder, size: int
) -> None:
    path = make_file(size)
    copied.down = {"us"}
    with pytest.raises(CopiesMissing, match=r"(?s)1 of 3 copies are missing.*us: the store does not take it") as caught:
        await put(copied, state, path, observer=recorder)
    assert (caught.value.exit_code, isinstance(caught.value.missing["us"], Unreachable)) == (4, True)
    assert states(copied) == {"eu": State.VERIFIED, "us": State.PENDING, "ap": State.VERIFIED}
    assert isinstance(recorder.events[-1], events.Kept)
    copied.down = set()
    result = await put(copied, state, path, observer=recorder)
    assert (result.state, verified(copied, size), notes(state)) == (State.VERIFIED, True, [])
    assert (copied.sent_to["eu"], copied.sent_to["ap"], result.sent_bytes) == (1, 1, size)
    assert len(recorder.of(events.Hashed)) == 1


async def test_a_session_that_has_enough_is_no_failure_but_says_what_is_missing(
    copied: CopiesStandIn, state: Path, make_file: MakeFile, recorder: Recorder
) -> None:
    copied.required = 2
    copied.down = {"ap"}
    path = make_file(3 * MIB)
    result = await put(copied, state, path, observer=recorder)
    assert (result.state, [copy.destination for copy in result.missing]) == (State.VERIFIED, ["ap"])
    assert isinstance(recorder.events[-1], events.Kept)
    copied.down = set()
    result = await put(copied, state, path)
    assert (result.missing, result.sent_bytes, verified(copied, 3 * MIB)) == ((), 3 * MIB, True)


async def test_the_same_key_finds_the_same_session_and_sends_what_is_missing(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile
) -> None:
    copied.parted = {"ap"}
    copied.down = {"us"}
    path = make_file(3 * MIB)
    with pytest.raises(CopiesMissing):
        await copies_uploader.put(path, destinations=ALL, idempotency_key="once")
    copied.down = set()
    result = await copies_uploader.put(path, destinations=ALL, idempotency_key="once")
    assert (result.sent_bytes, verified(copied, 3 * MIB)) == (3 * MIB, True)
    assert (copied.bytes_to["eu"], copied.bytes_to["ap"]) == (3 * MIB, 3 * MIB)
    again = await copies_uploader.put(path, destinations=ALL, idempotency_key="once")
    assert (again.session_id, again.attempts, len(copied.parents)) == (result.session_id, 0, 1)


async def test_without_note_and_key_a_fan_out_that_failed_is_aborted(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile, recorder: Recorder
) -> None:
    copied.down = {"us"}
    with pytest.raises(CopiesMissing):
        await copies_uploader.put(make_file(10), destinations=ALL, observer=recorder)
    assert [parent.state for parent in copied.parents.values()] == [State.ABORTED]
    assert isinstance(recorder.events[-1], events.Aborted)


async def test_a_copy_that_came_to_nothing_is_minted_again_alone(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile, recorder: Recorder
) -> None:
    copied.destination_faults["us"].append("truncate")
    result = await copies_uploader.put(make_file(10_000), destinations=ALL, observer=recorder)
    assert (result.state, verified(copied, 10_000)) == (State.VERIFIED, True)
    assert copied.sent_to == {"eu": 1, "us": 2, "ap": 1}
    (reminted,) = recorder.of(events.Reminted)
    assert isinstance(reminted, events.Reminted)
    assert (reminted.destination, "It is not what was declared" in reminted.why) == ("us", True)


async def test_a_copy_that_comes_to_nothing_every_time_is_given_up(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile
) -> None:
    copied.destination_faults["us"].extend(["truncate"] * 5)
    with pytest.raises(CopiesMissing) as caught:
        await copies_uploader.put(make_file(10_000), destinations=ALL, keep_session=True)
    assert isinstance(caught.value.missing["us"], SessionLost)
    assert copied.sent_to == {"eu": 1, "us": 2, "ap": 1}


@pytest.mark.parametrize("end", [State.REJECTED, State.EXPIRED])
async def test_a_later_command_mints_what_came_to_nothing_although_the_session_is_over(
    copied: CopiesStandIn, state: Path, make_file: MakeFile, end: State
) -> None:
    path = make_file(10_000)
    copied.down = {"us"}
    with pytest.raises(CopiesMissing):
        await put(copied, state, path)
    copied.down = set()
    (parent,) = copied.parents.values()
    parent.copies["us"].state, parent.state = end, State.EXPIRED
    result = await put(copied, state, path)
    assert (result.state, verified(copied, 10_000), copied.sent_to["eu"]) == (State.VERIFIED, True, 1)


@pytest.mark.parametrize("end", [State.ABORTED, State.REJECTED])
async def test_a_session_that_takes_no_more_copies_is_replaced(
    copied: CopiesStandIn, state: Path, make_file: MakeFile, end: State
) -> None:
    path = make_file(10_000)
    copied.down = {"us"}
    with pytest.raises(CopiesMissing):
        await put(copied, state, path)
    copied.down = set()
    next(iter(copied.parents.values())).state = end
    result = await put(copied, state, path)
    assert (result.state, len(copied.parents), copied.sent_to["eu"]) == (State.VERIFIED, 2, 2)


@pytest.mark.parametrize("size", [10_000, 3 * MIB])
@pytest.mark.parametrize("fault", ["lost-response", "slow-down", "conflict", "reset", "expired"])
async def test_trouble_at_one_copy_is_that_copys_alone(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile, recorder: Recorder, fault: str, size: int
) -> None:
    copied.destination_faults["us"].append(fault)
    result = await copies_uploader.put(make_file(size), destinations=ALL, observer=recorder)
    assert (result.state, verified(copied, size)) == (State.VERIFIED, True)
    assert (copied.sent_to["eu"], copied.sent_to["ap"]) == (1, 1)
    told = [e.destination for e in recorder.events if isinstance(e, events.Retrying | events.Reminted)]
    assert set(told) <= {"us"}


async def test_nobody_waits_for_a_copy_that_stands_still(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile, recorder: Recorder
) -> None:
    copied.patient = {"us"}  # takes nothing more until the others have everything
    size = 48 * MIB
    result = await copies_uploader.put(make_file(size), destinations=ALL, observer=recorder)
    seconds = {e.destination: e.seconds for e in recorder.events if isinstance(e, events.Sent)}
    assert (result.state, verified(copied, size)) == (State.VERIFIED, True)
    assert max(seconds["eu"], seconds["ap"]) <= seconds["us"]


async def test_a_file_that_changes_ends_all_copies_and_the_session(
    copied: CopiesStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    copied.destination_faults["us"].append("hold")
    task = asyncio.create_task(put(copied, state, path))
    await asyncio.wait_for(copied.body_begun.wait(), 20)
    path.write_bytes(b"other")
    copied.may_go_on.set()
    with pytest.raises(FileChanged):
        await asyncio.wait_for(task, 20)
    assert [parent.state for parent in copied.parents.values()] == [State.ABORTED]
    assert notes(state) == []


@pytest.mark.parametrize("call", ["mint", "complete", "get"])
@pytest.mark.parametrize("size", [10_000, 3 * MIB])
async def test_killed_at_any_call_the_same_command_sends_what_is_missing(
    copied: CopiesStandIn, state: Path, make_file: MakeFile, call: str, size: int
) -> None:
    path = make_file(size)
    copied.parted = {"ap"}
    copied.looks_until_verified = 1000
    process = await command(copied, state, path)
    await copied.seen(call)
    process.kill()
    await asyncio.wait_for(process.wait(), 20)
    copied.looks_until_verified = 0
    for session in copied.sessions.values():
        session.looks_until_verified = 0
    code, out, err = await finished(await command(copied, state, path))
    assert code == 0, err
    assert (len(copied.parents), verified(copied, size), notes(state)) == (1, True, [])
    assert "sha256+md5" not in err
    assert " 3 of 3 copies: eu,us,ap " in out


async def test_what_was_stored_unheard_before_a_crash_is_not_sent_again(
    copied: CopiesStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(3 * MIB)
    copied.looks_until_verified = 1000
    copied.destination_faults["us"].append("stall")
    process = await command(copied, state, path)
    async with asyncio.timeout(20), copied.calls_seen:
        await copied.calls_seen.wait_for(lambda: [name for name, _ in copied.calls].count("complete") == 2)
    process.kill()
    await asyncio.wait_for(process.wait(), 20)
    for session in copied.sessions.values():
        session.looks_until_verified = 0
    code, _, err = await finished(await command(copied, state, path))
    assert (code, verified(copied, 3 * MIB)) == (0, True), err
    assert copied.sent_to == {"eu": 1, "us": 2, "ap": 1}


async def test_ctrl_c_keeps_the_session_and_the_same_command_goes_on(
    copied: CopiesStandIn, state: Path, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    copied.destination_faults["us"].append("hold")
    process = await command(copied, state, path)
    await asyncio.wait_for(copied.body_begun.wait(), 20)
    async with asyncio.timeout(20):
        while not all(states(copied)[name] is State.VERIFIED for name in ("eu", "ap")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    process.send_signal(signal.SIGINT)
    code, _, err = await finished(process)
    assert (code, "is kept (interrupted); run the same command again to go on" in err) == (130, True)
    code, _, err = await finished(await command(copied, state, path))
    assert (code, "resumed: 2 of 3 copies were there" in err) == (0, True), err
    assert (copied.sent_to["eu"], copied.sent_to["ap"], verified(copied, LARGE)) == (1, 1, True)


async def test_the_command_says_which_copy_is_missing_and_exits_5(
    copied: CopiesStandIn, state: Path, make_file: MakeFile
) -> None:
    copied.required = 2
    copied.destination_faults["us"].append("refuse-early")
    path = make_file(10_000)
    code, out, err = await finished(await command(copied, state, path))
    assert code == 5, err
    assert re.fullmatch(r"p0000 verified 2 of 3 copies: eu,ap 9.77 KiB \d+\.\d MiB/s\n", out)
    assert "warning: data.bin: the copy at us is missing: the store refuses the upload: 400 EntityTooLarge" in err
    code, out, _ = await finished(await command(copied, state, path, "--json"))
    last = json.loads(out.splitlines()[-1])
    assert (code, last["event"], set(last["copies"].values())) == (0, "upload.finished", {"verified"})
    assert "missing" not in last


async def test_the_command_exits_as_the_missing_copy_says_when_too_few_are_there(
    copied: CopiesStandIn, state: Path, make_file: MakeFile
) -> None:
    copied.destination_faults["us"].append("refuse-early")
    code, out, err = await finished(await command(copied, state, make_file(10_000)))
    assert (code, out) == (1, "")
    assert "error: data.bin: 1 of 3 copies are missing\n  us: the store refuses the upload: 400 EntityTooLarge" in err


async def test_copies_that_are_sent_but_not_verified_in_time_are_left_to_the_broker(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile
) -> None:
    copied.looks_until_verified = 10_000
    with pytest.raises(CopiesMissing) as caught:
        await copies_uploader.put(make_file(10), destinations=ALL, timeout=timedelta(seconds=0.2))
    assert {type(error) for error in caught.value.missing.values()} == {WaitTimedOut}
    assert (caught.value.exit_code, [parent.state for parent in copied.parents.values()]) == (4, [State.PENDING])


async def test_nothing_is_waited_for_where_nothing_is_asked_for(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile
) -> None:
    copied.looks_until_verified = 10_000
    result = await copies_uploader.put(make_file(10), destinations=ALL, wait="none")
    assert (result.state, result.missing) == (State.PENDING, ())


async def test_status_shows_every_copy(copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile) -> None:
    copied.destination_faults["us"].extend(["truncate", "truncate"])
    with pytest.raises(CopiesMissing) as caught:
        await copies_uploader.put(make_file(10), destinations=ALL, keep_session=True)
    text = status_text(await copies_uploader.status(str(caught.value.session_id)))
    assert re.search(r"^  eu: bucket/uploads/c0001/data.bin verified$", text, re.MULTILINE)
    assert re.search(r"^  us: bucket/uploads/c0004/data.bin rejected\n    because: It is not", text, re.MULTILINE)


@pytest.mark.parametrize("fault", ["gone", "replaced", "busy"])
async def test_a_copy_that_cannot_be_read_is_made_up_for_by_the_next(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile, tmp_path: Path, fault: str
) -> None:
    path = make_file(10_000)
    sent = await copies_uploader.put(path, destinations=ALL)
    copied.store_faults.extend([fault] * (3 if fault == "busy" else 1))
    await copies_uploader.get(sent.session_id, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    await copies_uploader.get(sent.session_id, tmp_path / "ap", destination="ap")
    assert (tmp_path / "ap").read_bytes() == path.read_bytes()


async def test_one_destination_is_no_fan_out_and_both_words_are_refused(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile
) -> None:
    result = await copies_uploader.put(make_file(10), destinations=["eu"])
    assert (result.destination, result.copies, copied.parents) == ("eu", (), {})
    with pytest.raises(ValueError, match="not both"):
        await copies_uploader.put(make_file(10), destination="eu", destinations=ALL)
    with pytest.raises(ValueError, match="not one"):
        await copies_uploader.put(make_file(10), destinations="eu")


async def command(copied: CopiesStandIn, state: Path, path: Path, *arguments: str) -> asyncio.subprocess.Process:
    named = [word for destination in ALL for word in ("--destination", destination)]
    return await put_command(copied.broker_url, state, path, *named, *arguments)


def test_progress_shows_how_far_each_copy_is() -> None:
    meter = events.Meter("film.mkv", 100)
    copies = meter.split(["eu", "us", "ap"])
    copies["eu"].begin("waiting", 100)
    copies["eu"].state = "verified"
    copies["us"].begin("sending", 43)
    copies["us"].state = "sending"
    copies["ap"].state = "missing"
    plain, lines = io.StringIO(), io.StringIO()
    view = PlainView(plain)
    view.on_meter(meter)
    view.tick()
    expected = "film.mkv: sending 47 % (143 B of 300 B) – eu verified, us 43 %, ap missing\n"
    assert plain.getvalue() == expected
    scripted = JsonView(lines)
    scripted.on_meter(meter)
    scripted.tick()
    assert json.loads(lines.getvalue())["copies"] == {"eu": 100, "us": 43, "ap": 0}


def test_the_bar_counts_the_bytes_of_all_copies() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=140)
    view, meter = BarView(console), events.Meter("film.mkv", 100 << 20)
    view.on_meter(meter)
    with view.opened():
        view.tick()
        copies = meter.split(["eu", "us"])
        for copy in copies.values():
            copy.begin("sending", 30 << 20)
            copy.state = "sending"
        view.tick()
    assert isinstance(console.file, io.StringIO)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert "eu 30 %, us 30 %" in text
    assert "60.0/200.0 MiB" in text


async def test_a_key_that_is_new_costs_no_further_call(
    copied: CopiesStandIn, copies_uploader: Uploader, make_file: MakeFile
) -> None:
    await copies_uploader.put(make_file(10), destinations=ALL, idempotency_key="new")
    assert sorted(name for name, _ in copied.calls) == ["complete"] * 3 + ["get", "mint"]
