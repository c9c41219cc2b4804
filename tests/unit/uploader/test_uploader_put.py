"""The upload from its declaration to the wished state, with everything that goes wrong on the way."""

import asyncio
import hashlib
import os
import time
from base64 import b64encode
from datetime import timedelta

import pytest
from uploader_standin import KEY, QUICK, MakeFile, Recorder, StandIn

from broker.contract import State
from uploader import BrokerRefused, RetryPolicy, SessionLost, StoreRefused, Unreachable, Uploader, WaitTimedOut, events

SMALL = 10_000
LARGE = 3 * (1 << 20) + 17
BIG = 24 << 20  # more than any socket buffer takes in advance


@pytest.mark.parametrize("size", [0, 1, SMALL, 1 << 16, (1 << 16) + 1, 1 << 20, (1 << 20) + 1, LARGE])
async def test_the_store_gets_exactly_the_declared_bytes(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, size: int
) -> None:
    path = make_file(size)
    result = await uploader.put(path)
    stored = standin.objects[result.key]
    digest = b64encode(hashlib.sha256(path.read_bytes()).digest()).decode()
    declared = digest if size <= 1 << 20 else None
    assert (stored.size_bytes, stored.sha256, result.checksum.sha256) == (size, digest, declared)
    assert (result.state, result.attempts, result.size_bytes) == (State.VERIFIED, 1, size)


@pytest.mark.parametrize("size", [0, SMALL, LARGE])
async def test_bytes_in_memory_are_uploaded_like_a_file(uploader: Uploader, standin: StandIn, size: int) -> None:
    result = await uploader.put(b"x" * size, filename="memory.txt")
    stored = standin.objects[result.key]
    assert (stored.content, result.session.content_type) == (b"x" * size, "text/plain")


async def test_what_the_caller_declares_reaches_the_broker(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    result = await uploader.put(
        make_file(SMALL),
        filename="größe 100%.csv",
        metadata={"case": "17"},
        object_metadata={"mtime": "1"},
        owner="user-17",
        batch="b",
        destination="other",
        checksum="none",
    )
    wanted = standin.sessions[result.session_id].wanted
    assert (wanted.filename, wanted.content_type, wanted.metadata) == ("größe 100%.csv", "text/csv", {"case": "17"})
    assert (wanted.object_metadata, wanted.owner, wanted.batch) == ({"mtime": "1", "mode": "0644"}, "user-17", "b")
    assert (wanted.destination, wanted.checksum.sha256) == ("other", None)


async def test_time_and_permissions_travel_with_a_file_and_not_with_bytes(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    path = make_file(SMALL)
    path.chmod(0o4750)
    os.utime(path, ns=(0, -1_500_000_000))
    file, memory = await uploader.put(path), await uploader.put(b"x", filename="memory")
    assert standin.sessions[file.session_id].wanted.object_metadata == {"mtime": "-1.5", "mode": "0750"}
    assert standin.sessions[memory.session_id].wanted.object_metadata == {}


async def test_a_modified_file_is_another_declaration(uploader: Uploader, make_file: MakeFile) -> None:
    path = make_file(SMALL)
    first = await uploader.put(path, idempotency_key="once")
    assert (await uploader.put(path, idempotency_key="once")).session_id == first.session_id
    os.utime(path, ns=(0, 0))
    with pytest.raises(BrokerRefused, match="idempotency-key-reused"):
        await uploader.put(path, idempotency_key="once")


async def test_a_name_that_is_no_text_is_declared_as_one(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    result = await uploader.put(make_file(SMALL, os.fsdecode(b"caf\xe9\n.csv")))
    wanted = standin.sessions[result.session_id].wanted
    assert (wanted.filename, wanted.content_type) == ("caf__.csv", "text/csv")


async def test_a_lost_answer_after_the_commit_becomes_412_and_the_broker_decides(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.append("lost-response")
    result = await uploader.put(make_file(SMALL))
    assert [put.status for put in standin.puts] == [0, 412]
    assert (result.state, result.attempts) == (State.VERIFIED, 2)


async def test_a_large_file_whose_answer_is_lost_is_not_sent_again(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.append("lost-response")
    result = await uploader.put(make_file(LARGE))
    assert (len(standin.puts), result.state, result.attempts) == (1, State.VERIFIED, 1)


async def test_an_answer_lost_on_the_last_attempt_is_asked_for(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.extend(["slow-down"] * 3 + ["lost-response"])
    result = await uploader.put(make_file(SMALL))
    assert (result.state, result.attempts) == (State.VERIFIED, 4)


async def test_412_is_judged_even_if_nobody_waits(uploader: Uploader, standin: StandIn, make_file: MakeFile) -> None:
    standin.store_faults.append("lost-response")
    standin.looks_until_verified = 2
    result = await uploader.put(make_file(SMALL), wait="none")
    assert result.state is State.VERIFIED


async def test_412_over_other_bytes_is_a_failure_with_the_brokers_reason(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.append("truncate-and-lose")
    with pytest.raises(SessionLost, match=r"the session is rejected: .* \[size-mismatch\]"):
        await uploader.put(make_file(SMALL))


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("fault", ["conflict", "slow-down", "too-many", "reset"])
async def test_trouble_of_the_store_is_sent_again(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, recorder: Recorder, fault: str, size: int
) -> None:
    standin.store_faults.extend([fault, fault])
    result = await uploader.put(make_file(size), observer=recorder)
    assert (result.state, result.attempts, len(standin.puts)) == (State.VERIFIED, 3, 3)
    assert len(recorder.of(events.Retrying)) == 2
    assert len(standin.sessions) == 1


async def test_the_stores_retry_after_is_honoured(uploader: Uploader, standin: StandIn, make_file: MakeFile) -> None:
    standin.store_faults.append("slow-down-1s")
    started = time.monotonic()
    await uploader.put(make_file(SMALL))
    assert time.monotonic() - started >= 1.0


async def test_trouble_that_does_not_end_is_bounded_and_the_session_aborted(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.extend(["slow-down"] * 10)
    with pytest.raises(Unreachable, match="after 4 attempts; last: 503 SlowDown"):
        await uploader.put(make_file(SMALL))
    assert len(standin.puts) == QUICK.attempts
    assert [session.state for session in standin.sessions.values()] == [State.ABORTED]


@pytest.mark.parametrize("size", [SMALL, BIG])
@pytest.mark.parametrize("fault", ["refuse-early", "refuse-and-linger"])
async def test_an_early_refusal_is_read_and_reported(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, fault: str, size: int
) -> None:
    standin.store_faults.append(fault)
    with pytest.raises(StoreRefused, match="400 EntityTooLarge: about EntityTooLarge") as caught:
        await uploader.put(make_file(size), checksum="none")
    assert caught.value.session_id is not None
    assert standin.sessions[caught.value.session_id].state is State.ABORTED
    assert len(standin.puts) == 1


async def test_an_early_refusal_is_never_lost_as_a_broken_pipe(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    path = make_file(BIG)
    for _ in range(50):
        standin.store_faults.append("refuse-early")
        with pytest.raises(StoreRefused, match="EntityTooLarge"):
            await uploader.put(path, checksum="none")
    assert len(standin.puts) == 50


@pytest.mark.parametrize("size", [SMALL, BIG])
async def test_an_expired_request_is_minted_again(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, recorder: Recorder, size: int
) -> None:
    standin.ttls.append(timedelta(seconds=-1))
    result = await uploader.put(make_file(size), observer=recorder, checksum="none")
    assert [put.status for put in standin.puts] == [403, 200]
    assert (result.state, standin.sessions[result.session_id].mints) == (State.VERIFIED, 2)
    assert len(recorder.of(events.Reminted)) == 1


async def test_a_request_about_to_expire_is_minted_again_before_the_next_attempt(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.ttls.append(timedelta(seconds=4))
    standin.store_faults.append("slow-down")
    result = await uploader.put(make_file(SMALL))
    assert [put.status for put in standin.puts] == [503, 200]
    assert standin.sessions[result.session_id].mints == 2


async def test_a_refusal_that_a_fresh_signature_does_not_change_is_final(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.extend(["forbidden"] * 9)
    with pytest.raises(StoreRefused, match="403 AccessDenied"):
        await uploader.put(make_file(SMALL))
    assert len(standin.puts) == 3


async def test_bytes_that_are_not_what_was_declared_are_refused_by_the_broker(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.store_faults.append("truncate")
    with pytest.raises(SessionLost, match="size-mismatch") as caught:
        await uploader.put(make_file(SMALL))
    assert caught.value.state is State.REJECTED
    assert "abort" not in [call for call, _ in standin.calls]


async def test_a_store_that_takes_nothing_is_given_up_and_asked_again(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    standin.store_faults.append("stall")
    result = await uploader.put(make_file(BIG), checksum="none", observer=recorder)
    assert result.attempts == 2
    retries = recorder.of(events.Retrying)
    assert [event.why for event in retries if isinstance(event, events.Retrying)] == ["timed out"]


async def test_a_lost_201_is_replayed_and_makes_one_session(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, recorder: Recorder
) -> None:
    standin.broker_faults["mint"].append("lost")
    await uploader.put(make_file(SMALL), observer=recorder)
    assert len(standin.sessions) == 1
    minted = recorder.of(events.Minted)
    assert [event.is_replay for event in minted if isinstance(event, events.Minted)] == [True]


@pytest.mark.parametrize("fault", ["busy", "reset", "lost"])
@pytest.mark.parametrize("call", ["mint", "complete", "get", "remint"])
async def test_every_call_to_the_broker_survives_trouble(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, call: str, fault: str
) -> None:
    standin.broker_faults[call].extend([fault, fault])
    standin.looks_until_verified = 3
    standin.store_faults.append("expired")
    result = await uploader.put(make_file(SMALL))
    assert (result.state, len(standin.sessions)) == (State.VERIFIED, 1)


async def test_a_broker_that_is_away_is_unreachable_after_bounded_retries(
    unused_tcp_port: int, make_file: MakeFile, recorder: Recorder
) -> None:
    async with Uploader(f"http://127.0.0.1:{unused_tcp_port}", KEY, retry=QUICK) as uploader:
        with pytest.raises(Unreachable, match="does not answer"):
            await uploader.put(make_file(SMALL), observer=recorder)
    assert len(recorder.of(events.Retrying)) == QUICK.attempts - 1


async def test_a_refusal_of_the_broker_names_field_and_code(uploader: Uploader, make_file: MakeFile) -> None:
    with pytest.raises(BrokerRefused, match=r"/filename: not here \[content-type-not-allowed\]") as caught:
        await uploader.put(make_file(SMALL, "virus.exe"))
    assert caught.value.problem.status == 422


async def test_a_wrong_key_is_refused_and_not_repeated(standin: StandIn, make_file: MakeFile) -> None:
    async with Uploader(standin.broker_url, "ub_wrong", retry=QUICK) as uploader:
        with pytest.raises(BrokerRefused, match="unauthenticated"):
            await uploader.put(make_file(SMALL))
    assert standin.calls == [("mint", "/upload-sessions")]


async def test_wait_processed_follows_until_the_consumer_is_done(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.looks_until_verified = 3
    standin.ends_at = State.PROCESSED
    result = await uploader.put(make_file(SMALL), wait="processed")
    assert result.state is State.PROCESSED


async def test_wait_none_returns_when_the_store_has_it(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.looks_until_verified = 1000
    result = await uploader.put(make_file(SMALL), wait="none")
    assert result.state is State.PENDING
    assert [call for call, _ in standin.calls] == ["mint", "complete"]


async def test_a_state_that_does_not_come_in_time_leaves_the_session_alone(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    standin.looks_until_verified = 1000
    with pytest.raises(WaitTimedOut, match=r"still pending after 0\.2 s"):
        await uploader.put(make_file(SMALL), timeout=timedelta(seconds=0.2))
    assert [session.state for session in standin.sessions.values()] == [State.PENDING]


@pytest.mark.parametrize("state", [State.FAILED, State.EXPIRED, State.ABORTED])
async def test_a_session_that_ends_otherwise_is_a_failure(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, state: State
) -> None:
    standin.ends_at = state
    with pytest.raises(SessionLost, match=f"the session is {state.value}"):
        await uploader.put(make_file(SMALL))


@pytest.mark.parametrize("keep_session", [False, True])
@pytest.mark.parametrize("size", [SMALL, BIG])
async def test_cancelling_while_sending_aborts_the_session_unless_told_otherwise(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, size: int, keep_session: bool
) -> None:
    standin.store_faults.append("stall" if size == BIG else "silent")
    task = asyncio.create_task(uploader.put(make_file(size), checksum="none", keep_session=keep_session))
    async with asyncio.timeout(30):
        await standin.body_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    expected = State.PENDING if keep_session else State.ABORTED
    assert [session.state for session in standin.sessions.values()] == [expected]


async def test_uploads_run_side_by_side_on_one_uploader(
    uploader: Uploader, standin: StandIn, make_file: MakeFile
) -> None:
    paths = [make_file(LARGE + i, f"{i}.bin") for i in range(20)]
    standin.store_faults.extend(["slow-down", None, "reset", None, "expired", "lost-response"])
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(uploader.put(path)) for path in paths]
    assert {task.result().state for task in tasks} == {State.VERIFIED}
    assert len({task.result().key for task in tasks}) == len(standin.objects) == len(paths)


async def test_an_answer_that_never_comes_is_asked_for_at_the_broker(standin: StandIn, make_file: MakeFile) -> None:
    standin.store_faults.append("silent")
    policy = RetryPolicy(attempts=2, first_delay=timedelta(milliseconds=5))
    async with Uploader(standin.broker_url, KEY, retry=policy, answer_timeout=timedelta(seconds=0.3)) as uploader:
        result = await uploader.put(make_file(LARGE))
    assert (result.state, len(standin.puts)) == (State.VERIFIED, 1)
