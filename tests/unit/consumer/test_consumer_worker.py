"""The worker against the stand-in: what it leases, when it renews, what it reports."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from consumer_standin import KEY, PATIENT_SECONDS, Fault, Standin, as_processor, served

from consumer import Job, Reader, Reject, Retry, builtin
from consumer.attempt import Attempt
from consumer.client import Broker, Granted
from consumer.errors import ConfigurationInvalid
from consumer.processors import arrange, collect

Start = Callable[..., Any]


async def _count(_job: Job, reader: Reader) -> dict[str, int]:
    return {"bytes": len(await reader.read())}


async def test_the_builtin_processor_counts_bytes_and_lines_and_says_so(
    standin: Standin, start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    body = b"one\ntwo\nthree" + b"." * 1_560_000
    standin.add(body, filename="evil\x1b[31m\u202e\n.txt")
    start(arrange(collect(builtin)))
    (report,) = await standin.until_heard("result")
    assert report.outcome == "processed"
    expected = {"size_bytes": len(body), "lines": 3, "sha256": hashlib.sha256(body).hexdigest()}
    assert msgspec.json.decode(report.result) == expected
    assert capsys.readouterr().out == "File: evil\\x1b[31m\\u202e\\n.txt\nFile size: 1.49 MiB\n"


@pytest.mark.parametrize(("body", "count"), [(b"", 0), (b"\n", 1), (b"a", 1), (b"a\nb\n", 2), (b"a\nb", 2)])
async def test_the_builtin_processor_counts_a_last_line_without_an_end(
    standin: Standin, start: Start, body: bytes, count: int
) -> None:
    standin.add(body)
    start(arrange(collect(builtin)))
    (report,) = await standin.until_heard("result")
    assert msgspec.json.decode(report.result)["lines"] == count


async def test_what_a_store_numbers_is_read_by_its_number(standin: Standin, start: Start) -> None:
    job = standin.add(b"one\n", version="17")
    standin.objects[job].etag, standin.objects[job].generation = '"no digest"', "17"
    start(arrange(collect(builtin)))
    (report,) = await standin.until_heard("result")
    assert report.outcome == "processed"


async def test_jobs_are_leased_in_batches_no_larger_than_the_free_slots(
    standin: Standin, start: Start, processes: Any
) -> None:
    inside, most, go = 0, 0, asyncio.Event()

    async def wait(_job: Job, _reader: Reader) -> dict[str, int]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await standin.tell()
        await go.wait()
        inside -= 1
        return {}

    for _ in range(10):
        standin.add(b"x")
    start(processes(wait), concurrency=3)
    await standin.until(lambda: inside == 3)
    assert [ask.max for ask in standin.asked] == [3]
    go.set()
    await standin.until_heard("result", 10)
    assert most == 3
    assert {ask.worker for ask in standin.asked} == {"test"}


async def _raises(exc: Exception) -> Any:
    async def fail(_job: Job, _reader: Reader) -> None:
        raise exc

    return fail


@pytest.mark.parametrize(
    ("exc", "outcome", "code", "message", "after"),
    [
        (Retry(90, "later"), "retry", "processor-retry", "later", 90.0),
        (Retry(timedelta(days=9)), "retry", "processor-retry", None, 86_400.0),
        (Retry(), "retry", "processor-retry", None, None),
        (Reject("not a table", code="bad-table"), "rejected", "bad-table", "not a table", None),
        (Reject(), "rejected", "processor-rejected", None, None),
        (ValueError("no\x1b[1m column"), "retry", "processor-error", "ValueError: no\\x1b[1m column", None),
        (RuntimeError("GET https://s3/x?X-Amz-Signature=1 broke"), "retry", "processor-error", None, None),
        (TimeoutError(), "retry", "processor-error", "TimeoutError", None),
        (asyncio.CancelledError(), "retry", "processor-error", None, None),
        (SystemExit(3), "retry", "processor-error", None, None),
    ],
)
async def test_what_a_processor_raises_becomes_its_outcome(
    standin: Standin,
    start: Start,
    processes: Any,
    lines: list[str],
    exc: Exception,
    outcome: str,
    code: str,
    message: str | None,
    after: float | None,
) -> None:
    standin.add(b"x")
    start(processes(await _raises(exc)))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code, report.retry_after_seconds) == (outcome, code, after)
    assert message is None or report.reason.message == message
    assert "s3/" not in report.reason.message
    assert "Signature" not in "".join(lines)


async def test_a_type_that_nothing_takes_fails(standin: Standin, start: Start) -> None:
    standin.add(b"x", content_type="image/png")
    start(arrange([]))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code) == ("failed", "no-processor")


@pytest.mark.parametrize(
    ("result", "code"),
    [("x" * 65_536, "result-too-large"), (object(), "result-not-json"), ({"a": 1j}, "result-not-json")],
)
async def test_a_result_that_cannot_be_kept_fails(
    standin: Standin, start: Start, processes: Any, result: object, code: str
) -> None:
    async def give(_job: Job, _reader: Reader) -> object:
        return result

    standin.add(b"x")
    start(processes(give))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code) == ("failed", code)


async def test_a_result_of_64_kib_is_taken(standin: Standin, start: Start, processes: Any) -> None:
    async def give(_job: Job, _reader: Reader) -> object:
        return "x" * 65_534

    standin.add(b"x")
    start(processes(give))
    (report,) = await standin.until_heard("result")
    assert report.outcome == "processed"


async def test_a_processor_that_takes_too_long_is_stopped(standin: Standin, start: Start, processes: Any) -> None:
    async def hang(_job: Job, _reader: Reader) -> None:
        await asyncio.Event().wait()

    standin.add(b"x")
    start(processes(hang, timeout=0.05))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code) == ("retry", "timeout")


@pytest.mark.parametrize(
    ("fault", "outcome", "code"),
    [
        ({"kind": "status", "status": 404}, "failed", "object-missing"),
        ({"kind": "status", "status": 412}, "failed", "object-changed"),
        ({"kind": "etag"}, "failed", "object-changed"),
    ],
)
@pytest.mark.parametrize("is_swallowed", [False, True])
async def test_an_object_that_is_not_there_as_verified_fails_even_if_the_processor_shrugs(
    standin: Standin,
    start: Start,
    processes: Any,
    fault: dict[str, Any],
    outcome: str,
    code: str,
    is_swallowed: bool,
) -> None:
    async def shrug(_job: Job, reader: Reader) -> dict[str, int]:
        with contextlib.suppress(Exception if is_swallowed else ZeroDivisionError):
            await reader.read()
        return {}

    standin.add(b"x", faults=[Fault(**fault)])
    start(processes(shrug))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code) == (outcome, code)


async def test_store_trouble_gives_the_job_back_without_blame(standin: Standin, start: Start, processes: Any) -> None:
    standin.add(b"x", faults=[Fault(kind="status", status=503)] * 4)
    start(processes(_count))
    (ask,) = await standin.until_heard("release")
    assert ask.cause == "infrastructure"
    assert standin.verbs("result") == []


async def test_bytes_that_were_not_proved_are_never_processed(
    standin: Standin, start: Start, processes: Any, digests: Any
) -> None:
    async def ignore(_job: Job, _reader: Reader) -> dict[str, int]:
        return {}

    standin.add(b"other", prove=["sha256"], checksum=digests(b"bytes"))
    start(processes(ignore))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code) == ("rejected", "checksum-mismatch")


@pytest.mark.parametrize("name", ["crc64nvme", "sha3"])
async def test_a_checksum_that_cannot_be_proved_fails_before_the_processor_runs(
    standin: Standin, start: Start, processes: Any, digests: Any, name: str
) -> None:
    async def never(_job: Job, _reader: Reader) -> None:
        pytest.fail("it ran")

    job = standin.add(b"x", prove=[name], checksum=msgspec.structs.replace(digests(b"x"), crc64nvme="AAAAAAAAAAA="))
    start(processes(never))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code) == ("failed", "checksum-not-provable")
    assert standin.objects[job].gets == []


async def test_a_lease_is_renewed_while_its_job_runs(standin: Standin, start: Start, processes: Any) -> None:
    async def until_renewed(_job: Job, _reader: Reader) -> dict[str, int]:
        await standin.until_heard("renew", 3)
        return {}

    standin.life = timedelta(seconds=0.6)
    standin.add(b"x")
    start(processes(until_renewed))
    (report,) = await standin.until_heard("result")
    assert report.outcome == "processed"


async def test_a_lost_lease_cancels_the_processor_and_reports_nothing(
    standin: Standin, start: Start, processes: Any, until_logged: Any
) -> None:
    cancelled = asyncio.Event()

    async def hang(job: Job, _reader: Reader) -> None:
        standin.lose(job.id)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    standin.life = timedelta(seconds=0.3)
    standin.add(b"x")
    start(processes(hang))
    async with asyncio.timeout(PATIENT_SECONDS):
        await cancelled.wait()
    await standin.until(lambda: len(standin.asked) > 1)
    assert standin.verbs("result") == standin.verbs("release") == []
    await until_logged("event=job.lost")


async def test_a_stale_report_is_dropped_quietly(
    standin: Standin, start: Start, processes: Any, until_logged: Any
) -> None:
    async def lose(job: Job, _reader: Reader) -> dict[str, int]:
        standin.lose(job.id)
        return {}

    standin.add(b"x")
    start(processes(lose))
    await standin.until_heard("result-lost")
    await standin.until(lambda: len(standin.asked) > 1)
    assert standin.verbs("result") == []
    await until_logged("event=job.lost")


async def test_a_report_is_sent_until_the_broker_takes_it(standin: Standin, start: Start, processes: Any) -> None:
    standin.refuse["result"] = [503, 503]
    standin.add(b"x")
    start(processes(_count))
    (report,) = await standin.until_heard("result")
    assert report.outcome == "processed"
    assert len(standin.verbs("result-503")) == 2


async def test_a_report_that_the_broker_does_not_take_becomes_a_failure(
    standin: Standin, start: Start, processes: Any
) -> None:
    standin.refuse["result"] = [422]
    standin.add(b"x")
    start(processes(_count))
    (report,) = await standin.until_heard("result")
    assert (report.outcome, report.reason.code) == ("failed", "result-refused")


async def test_a_fault_of_our_own_ends_one_attempt_and_says_so(
    standin: Standin, start: Start, processes: Any, until_logged: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_attempt: Attempt, _granted: Granted) -> None:
        raise MemoryError("https://x.test/secret")

    monkeypatch.setattr(Attempt, "run", broken)
    standin.add(b"x")
    start(processes(_count))
    assert "secret" not in await until_logged("event=attempt.crashed")
    await standin.until(lambda: len(standin.asked) > 1)


async def test_a_broker_that_was_away_is_found_again(standin: Standin, start: Start, processes: Any) -> None:
    standin.refuse["lease"] = [503, 503, 503]
    standin.add(b"x")
    start(processes(_count))
    (report,) = await standin.until_heard("result")
    assert report.outcome == "processed"


async def test_a_report_survives_a_restart_of_the_broker(start: Start, processes: Any, broker: Broker) -> None:
    """The first broker closes its port before the result is ready; another opens it with the same records."""
    first, went = Standin(), asyncio.Event()

    async def wait(_job: Job, _reader: Reader) -> dict[str, int]:
        await went.wait()
        return {}

    async with served(first) as port:
        first.url = f"http://127.0.0.1:{port}"
        object.__setattr__(broker, "url", first.url)  # the fixture's value, aimed at this broker
        first.add(b"x")
        start(processes(wait))
        await first.until(lambda: first.held["00job0"].is_leased)
    went.set()
    second = Standin(url=first.url, held=first.held)
    async with served(second, port):
        (report,) = await second.until_heard("result")
    assert report.outcome == "processed"


async def test_a_key_that_is_refused_from_the_start_ends_the_worker(
    standin: Standin, start: Start, processes: Any
) -> None:
    standin.refuse["lease"] = [401]
    _, running = start(processes(_count))
    with pytest.raises(ConfigurationInvalid, match="401"):
        await asyncio.wait_for(running, PATIENT_SECONDS)


async def test_a_key_that_is_refused_later_is_tried_again(standin: Standin, start: Start, processes: Any) -> None:
    start(processes(_count))
    await standin.until(lambda: len(standin.asked) == 1)
    standin.refuse["lease"] = [401]
    standin.add(b"x")
    await standin.tell()
    await standin.until_heard("lease-401")
    await standin.until_heard("result")


async def test_the_first_signal_lets_a_running_job_finish(standin: Standin, start: Start, processes: Any) -> None:
    inside, go = asyncio.Event(), asyncio.Event()

    async def wait(_job: Job, _reader: Reader) -> dict[str, int]:
        inside.set()
        await go.wait()
        return {}

    standin.add(b"x")
    signals, running = start(processes(wait), concurrency=1)
    async with asyncio.timeout(PATIENT_SECONDS):
        await inside.wait()
        signals.receive()
        standin.add(b"y")
        go.set()
        await running
    assert [report.outcome for report in standin.verbs("result")] == ["processed"]
    assert len(standin.asked) == 1, "nothing was leased after the signal"


@pytest.mark.parametrize("signals_sent", [1, 2])
async def test_what_is_not_finished_in_time_or_hurried_is_given_back(
    standin: Standin, start: Start, processes: Any, signals_sent: int
) -> None:
    inside, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(_job: Job, _reader: Reader) -> None:
        inside.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    standin.add(b"x")
    signals, running = start(processes(hang), drain_seconds=0.05 if signals_sent == 1 else 600)
    async with asyncio.timeout(PATIENT_SECONDS):
        await inside.wait()
        for _ in range(signals_sent):
            signals.receive()
        await running
    assert cancelled.is_set()
    assert [ask.cause for ask in standin.verbs("release")] == ["drain"]
    assert standin.verbs("result") == []


async def test_no_secret_is_logged_or_shown(
    standin: Standin, start: Start, lines: list[str], broker: Broker, lend: Any
) -> None:
    async def look(job: Job, _reader: Reader) -> dict[str, str]:
        assert job.lease.epoch == 1
        return {"job": repr(job), "id": job.id}

    standin.add(b"x")
    granted, tenure = await lend()
    standin.add(b"x")
    start(arrange([as_processor(look)]))
    (report,) = await standin.until_heard("result")
    told = "".join([*lines, bytes(report.result).decode(), repr(broker), repr(granted), repr(tenure)])
    for secret in (KEY, "lease-00job", "sig", "/bucket/"):
        assert secret not in told
