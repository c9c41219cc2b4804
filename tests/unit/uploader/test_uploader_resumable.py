"""A resumable upload: after any trouble the store is asked, and what it has is not sent again."""

import asyncio
import hashlib
import logging
import os
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from resumable_standin import MULTIPLE, ResumableStandIn
from uploader_standin import KEY, QUICK, TOKEN, MakeFile, Recorder

from broker.contract import State
from uploader import (
    FileChanged,
    SessionLost,
    StoreRefused,
    Unreachable,
    Uploader,
    UploaderError,
    UploadResult,
    events,
    pump,
    resumable,
    upload_file,
)

MIB = 1 << 20
LARGE = 7 * MIB + 17  # eight pieces of a MiB


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "CHUNK_BYTES", MIB)


@pytest.fixture
async def sender(store: ResumableStandIn) -> AsyncIterator[Uploader]:
    async with Uploader(
        store.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=1), answer_timeout=timedelta(seconds=1)
    ) as opened:
        yield opened


def digest(path: Path) -> str:
    return b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()


def is_there(store: ResumableStandIn, path: Path) -> bool:
    """One object, complete, of exactly these bytes, committed once."""
    (stored,) = store.objects.values()
    assert (stored.size_bytes, stored.sha256) == (path.stat().st_size, digest(path))
    return list(store.committed.values()) == [1]


async def put(sender: Uploader, path: Path, **wishes: Any) -> UploadResult:
    return await asyncio.wait_for(sender.put(path, strategy="resumable", **wishes), 30)


@pytest.mark.parametrize("size", [0, 1, MULTIPLE, MIB, MIB + 1, 3 * MIB, LARGE])
async def test_the_store_gets_every_byte_once_and_nothing_is_asked_without_need(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, recorder: Recorder, size: int
) -> None:
    path = make_file(size)
    result = await put(sender, path, observer=recorder)
    assert is_there(store, path)
    pieces = max(1, -(-size // MIB))
    assert (result.state, result.attempts, result.sent_bytes) == (State.VERIFIED, pieces, size)
    assert (store.received_bytes.total(), store.refused) == (size, [])
    assert len(store.questions) == (0 if size else 1)  # an object without bytes is made by the question
    (meter,) = recorder.meters
    assert (meter.phase, meter.done_bytes, meter.total_bytes) == ("waiting", size, size)


async def test_bytes_in_memory_go_piece_by_piece_as_well(sender: Uploader, store: ResumableStandIn) -> None:
    data = os.urandom(LARGE)
    await sender.put(data, filename="x", strategy="resumable")
    (stored,) = store.objects.values()
    assert stored.sha256 == b64encode(hashlib.sha256(data).digest()).decode()


async def test_without_sendfile_pieces_go_through_the_transport(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "IS_AVAILABLE", False)
    path = make_file(LARGE)
    await put(sender, path)
    assert is_there(store, path)


async def test_a_program_without_a_loop_may_ask_for_it(store: ResumableStandIn, make_file: MakeFile) -> None:
    path = make_file(LARGE)
    result = await asyncio.to_thread(upload_file, store.broker_url, KEY, path, strategy="resumable")
    assert (result.state, is_there(store, path), len(store.pieces)) == (State.VERIFIED, True, 8)


async def test_a_large_file_goes_in_larger_pieces(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "MAX_CHUNKS", 3)
    path = make_file(LARGE)
    await put(sender, path)
    assert (is_there(store, path), len(store.pieces)) == (True, 3)


KEPT_MIB = {  # of the first three pieces, when the third got into trouble
    "reset": 2.5,
    "busy-before": 2,  # 503, and nothing of it kept
    "busy": 3,  # 503 after it was kept
    "lost-response": 3,
    "garbled": 3,
    "garbled-range": 3,
    "wrong-200": 3,  # "complete", in the middle of it
    "fewer": 2.5,
    "silent": 3,
}


@pytest.mark.parametrize("fault", KEPT_MIB)
async def test_after_trouble_in_the_middle_the_store_is_asked_and_gets_what_it_lacks(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, recorder: Recorder, fault: str
) -> None:
    path = make_file(LARGE)
    store.faults.extend([None, None, fault])
    result = await put(sender, path, observer=recorder)
    assert (result.state, is_there(store, path), store.refused) == (State.VERIFIED, True, [])
    kept_bytes = int(KEPT_MIB[fault] * MIB)
    assert int(store.pieces[3].removeprefix("bytes ").partition("-")[0]) == kept_bytes
    assert result.attempts == len(store.pieces) == 3 + -(-(LARGE - kept_bytes) // MIB)
    is_heard = fault == "fewer"  # a 308 says itself how much was kept
    assert (len(store.questions), len(recorder.of(events.Retrying))) == ((0, 0) if is_heard else (1, 1))
    assert result.sent_bytes == LARGE


async def test_a_store_that_takes_nothing_more_is_asked(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resumable, "CHUNK_BYTES", 8 * MIB)  # more than socket buffers take in advance
    path = make_file(24 * MIB)
    store.faults.extend([None, "stall"])
    result = await put(sender, path)
    assert (result.state, is_there(store, path), store.refused) == (State.VERIFIED, True, [])
    assert (store.pieces[1], store.pieces[1]) == (store.pieces[2], f"bytes {8 * MIB}-{16 * MIB - 1}/{24 * MIB}")


@pytest.mark.parametrize("fault", ["busy", "lost-response", "garbled", "garbled-range", "silent"])
@pytest.mark.parametrize("size", [1, MIB, LARGE])
async def test_what_was_committed_unheard_is_never_sent_again(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, fault: str, size: int
) -> None:
    path = make_file(size)
    last = -(-size // MIB)
    store.faults.extend([None] * (last - 1) + [fault])
    result = await put(sender, path)
    assert (result.state, is_there(store, path), store.received_bytes.total()) == (State.VERIFIED, True, size)
    assert (len(store.pieces), len(store.questions)) == (last, 1)


@pytest.mark.parametrize("looks", [0, 1])
@pytest.mark.parametrize("fault", ["404", "410"])
async def test_an_upload_that_is_gone_because_it_is_complete_is_not_sent_again(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, fault: str, looks: int
) -> None:
    path = make_file(LARGE)
    store.faults.extend([None] * 7 + ["lost-response"])
    store.query_faults.append(fault)
    store.looks_until_verified = looks
    result = await put(sender, path)
    assert (result.state, is_there(store, path), store.received_bytes.total()) == (State.VERIFIED, True, LARGE)
    assert (result.sent_bytes, len(store.uploads)) == (LARGE, 1)


@pytest.mark.parametrize("fault", ["busy", "lost-response", "garbled", "garbled-range", "silent"])
async def test_the_question_itself_may_get_into_trouble(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, fault: str
) -> None:
    path = make_file(LARGE)
    store.faults.extend([None, "lost-response"] + [None] * 5 + ["lost-response"])
    store.query_faults.extend([fault, None, fault])
    result = await put(sender, path)
    assert (result.state, is_there(store, path), store.received_bytes.total()) == (State.VERIFIED, True, LARGE)
    assert len(store.questions) == 4


@pytest.mark.parametrize("size", [0, LARGE])
async def test_an_object_that_was_there_before_is_for_the_broker_to_judge(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, size: int
) -> None:
    path = make_file(size)
    if size:
        store.faults.extend([None] * 7 + ["412"])
    else:
        store.query_faults.append("412")
    store.looks_until_verified = 2
    result = await put(sender, path, wait="none")
    assert (result.state, result.attempts) == (State.VERIFIED, 8 if size else 1)


async def test_a_retry_after_is_honoured(sender: Uploader, store: ResumableStandIn, make_file: MakeFile) -> None:
    store.faults.append("busy-1s")
    started = time.monotonic()
    await put(sender, make_file(1000))
    assert time.monotonic() - started >= 1


async def test_patience_is_counted_anew_with_each_byte_that_arrives(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    store.faults.extend(["reset", "busy", "busy-before"] * 5)
    result = await put(sender, path)
    assert (result.state, is_there(store, path)) == (State.VERIFIED, True)


async def test_a_store_that_answers_half_of_all_questions_is_not_away(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    path = make_file(MIB)
    store.faults.extend(["busy-before"] * 3)
    store.query_faults.extend(["busy", "busy", None] * 3)
    result = await put(sender, path)
    assert (result.state, is_there(store, path), result.attempts) == (State.VERIFIED, True, 4)


@pytest.mark.parametrize("fault", ["busy-before", "garbled", "lost-response"])
async def test_trouble_that_does_not_end_is_bounded_and_the_session_aborted(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, fault: str
) -> None:
    store.faults.extend(["busy-before"] * 100)
    store.query_faults.extend([fault] * 100)
    with pytest.raises(Unreachable, match="the store does not go on after 4 attempts; last: "):
        await put(sender, make_file(LARGE))
    assert [session.state for session in store.sessions.values()] == [State.ABORTED]
    assert all(upload.is_cancelled for upload in store.uploads.values())


async def test_a_store_that_keeps_nothing_of_what_it_takes_is_given_up(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    store.faults.extend(["fewer"] * 100)
    with pytest.raises(Unreachable, match="kept nothing of it"):
        await put(sender, make_file(MULTIPLE))  # half of it is no multiple


@pytest.mark.parametrize("fault", ["499", "404", "410"])
@pytest.mark.parametrize("when", ["piece", "question"])
async def test_an_upload_that_is_gone_is_opened_anew_by_the_broker(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, recorder: Recorder, fault: str, when: str
) -> None:
    path = make_file(LARGE)
    store.faults.extend([None, None, fault if when == "piece" else "lost-response"])
    if when == "question":
        store.query_faults.append("404")
    result = await put(sender, path, observer=recorder)
    assert (result.state, is_there(store, path), len(store.sessions)) == (State.VERIFIED, True, 1)
    assert (len(store.uploads), len(recorder.of(events.Reminted))) == (2, 1)


async def test_patience_begins_anew_with_an_upload_that_was_opened_anew(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    store.faults.extend([None] * 7 + ["410"] + ["busy-before", None] * 7)
    result = await put(sender, path)
    assert (result.state, is_there(store, path), result.sent_bytes) == (State.VERIFIED, True, 7 * MIB + LARGE)


async def test_a_store_that_loses_one_upload_after_the_other_is_given_up(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    store.faults.extend([None, "404"] * 9)
    with pytest.raises(Unreachable, match="lost the upload 4 times"):
        await put(sender, make_file(LARGE))
    assert len(store.uploads) == 4


async def test_a_session_that_ended_meanwhile_is_not_opened_anew(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    store.faults.extend([None, "hold"])
    task = asyncio.create_task(put(sender, make_file(LARGE)))
    await store.until(begun=2)
    (session,) = store.sessions.values()
    session.state = State.EXPIRED
    store.faults.append("499")
    store.may_go_on.set()
    with pytest.raises(SessionLost, match="the session is expired"):
        await task
    assert len(store.uploads) == 1


@pytest.mark.parametrize(("fault", "sent"), [("refuse-early", 3), ("403", 3)])
async def test_a_refusal_is_asked_about_and_then_final(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, fault: str, sent: int
) -> None:
    store.faults.extend([fault] * 9)
    store.query_faults.extend(["403"] * 9 if fault == "403" else [])
    with pytest.raises(StoreRefused, match=r"the store refuses the upload: 40[03] "):
        await put(sender, make_file(MIB))
    assert len(store.ranges_sent) <= 2 * sent
    assert [session.state for session in store.sessions.values()] == [State.ABORTED]


async def test_a_refusal_of_what_is_there_already_is_no_failure(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    """Somebody else has gone on with the same upload: "it is complete", says the store, in a refusal."""
    path = make_file(LARGE)
    store.faults.extend([None] * 6 + ["hold"])
    task = asyncio.create_task(put(sender, path))
    await store.until(begun=7)
    (upload,) = store.uploads.values()
    upload.keep(6 * MIB, path.read_bytes()[6 * MIB :])
    upload.finish()
    store._commit(upload)
    store.may_go_on.set()
    assert (await task).state is State.VERIFIED
    assert is_there(store, path)


async def test_a_file_that_changes_between_two_pieces_never_becomes_an_object(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile
) -> None:
    path = make_file(LARGE)
    store.faults.extend([None, None, None, "hold"])
    task = asyncio.create_task(put(sender, path))
    await store.until(begun=4)
    with path.open("ab") as out:
        out.write(b"more")
    store.may_go_on.set()
    with pytest.raises(FileChanged, match="grew"):
        await task
    assert [session.state for session in store.sessions.values()] == [State.ABORTED]
    assert not store.objects


@pytest.mark.parametrize("fault", ["busy", "reset", "lost"])
async def test_every_call_to_the_broker_survives_trouble(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, fault: str
) -> None:
    path = make_file(LARGE)
    store.looks_until_verified = 3
    store.faults.extend([None, "499"])
    for call in ("mint", "remint", "complete", "get"):
        store.broker_faults[call].extend([fault, fault])
    result = await put(sender, path)
    assert (result.state, is_there(store, path), len(store.sessions)) == (State.VERIFIED, True, 1)


async def test_progress_goes_back_only_where_bytes_are_sent_again(
    sender: Uploader, store: ResumableStandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    """Watched from the loop, as a view does: at each answer, and at each event."""
    seen: list[int] = []
    note: Callable[[], None] = lambda: seen.append(recorder.meters[-1].done_bytes)  # noqa: E731
    store.faults.extend([None, "busy", "lost-response", None, "busy-before", "garbled"])
    store.query_faults.extend([None, "busy", "lost-response"])
    async with asyncio.TaskGroup() as group:
        task = group.create_task(put(sender, make_file(LARGE), observer=recorder))

        async def watch() -> None:
            while not task.done():
                if recorder.meters and recorder.meters[-1].phase == "sending":
                    note()
                await asyncio.sleep(0)

        group.create_task(watch())
    falls = [(before, after) for before, after in pairwise(seen) if after < before]
    assert falls == [(5 * MIB, 4 * MIB)]  # the piece that was thrown away, and only when it was known
    assert seen[-1] == LARGE


@pytest.mark.parametrize("fault", [None, "reset", "refuse-early", "busy", "busy-before", "garbled", "403", "404"])
async def test_no_secret_is_in_a_result_an_event_an_error_or_a_log(
    sender: Uploader,
    store: ResumableStandIn,
    make_file: MakeFile,
    recorder: Recorder,
    caplog: pytest.LogCaptureFixture,
    fault: str | None,
) -> None:
    """The store repeats the request in its refusals; the URL lives for a week."""
    caplog.set_level(logging.DEBUG)
    store.faults.extend([fault] * 99)
    store.query_faults.extend([fault] * 99)
    seen = []
    try:
        seen.append(repr(await put(sender, make_file(LARGE), observer=recorder)))
    except UploaderError as exc:
        error: BaseException | None = exc
        while error is not None:
            seen.append(repr(error))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    seen += [repr(sender), caplog.text, *map(repr, recorder.events)]
    hidden = [KEY, TOKEN, "X-Amz-Signature", "s%2Bx", "upload_id=", *store.uploads]
    assert not [(text, secret) for text in seen for secret in hidden if secret in text]
