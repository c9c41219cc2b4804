"""One leased job, from lease to report.

Two tasks stand beside each other: the work, and the renewal of the lease. If the lease is lost the work is cancelled at
once and nothing is reported. Otherwise the report is sent – again and again through a broker's restart – while renewal
goes on, so that the job stays ours until the broker has accepted an answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

from broker import contract
from consumer.backoff import Backoff
from consumer.client import Broker, Granted
from consumer.digests import Prover
from consumer.errors import BrokerAway, BrokerRefused, ConsumerError, LeaseLost, ProcessorError, TimedOut
from consumer.events import Events
from consumer.jobs import Job, job_of
from consumer.pool import Pool
from consumer.processors import Processor, Processors
from consumer.remote import RemoteReader
from consumer.source import Patience, Source
from consumer.tenure import Tenure
from consumer.tracing import Tracing, Try
from consumer.verdicts import Verdict, processed, verdict_of

REPORT_BACKOFF = Backoff(base_seconds=0.2, limit_seconds=5.0)
OVERTIME_SECONDS = 30.0  # ours: a lease that ended may still be the current one; after this we let go
LAST_WORD_SECONDS = 8.0  # ours: for giving a job back while stopping, unwinding included
UNWIND_SECONDS = 5.0  # ours: for a cancelled processor to clean up


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Processes jobs, one call of `run` each."""

    broker: Broker
    store: aiohttp.ClientSession
    processors: Processors
    pool: Pool
    events: Events
    spool: Path | None = None
    patience: Patience = field(default_factory=Patience)
    tracing: Tracing = field(default_factory=Tracing)

    async def run(self, granted: Granted) -> None:
        """Never raises but when it is cancelled: then it gives the job back first."""
        with self.tracing.of(granted.job) as traced:
            await self._run(granted, traced)

    async def _run(self, granted: Granted, traced: Try) -> None:
        tenure = Tenure(
            broker=self.broker, events=self.events, job_id=granted.job.id, grant=granted.grant, traced=traced
        )
        self._tell("leased", tenure)
        keeping = asyncio.create_task(tenure.keep())
        working = asyncio.create_task(self._decide(granted.job, tenure))
        try:
            await asyncio.wait({keeping, working}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                self._tell("lost", tenure)
                return
            await self._deliver(tenure, working.result())
        except asyncio.CancelledError:
            await self._give_back(tenure, working)
            raise
        finally:
            await self._unwind(tenure, keeping, working)

    async def _decide(self, leased: contract.Job, tenure: Tenure) -> Verdict:
        """Runs the processor. A verdict of `processed` is given for proved bytes alone."""
        try:
            found = self.processors.match(leased.content_type)
            source = Source(
                http=self.store,
                tenure=tenure,
                size_bytes=leased.size_bytes,
                etag=leased.etag,
                version=leased.version,
                patience=self.patience,
            )
            reader = _reader(leased, source, self.spool)
            result = await _timed(found, self._process(found, job_of(leased, tenure.traced.traceparent), reader))
            return processed(result)
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return verdict_of(ProcessorError("the processor cancelled itself"))
        except Exception as exc:  # whatever a processor raises ends its own job only
            return verdict_of(exc)

    async def _process(self, found: Processor, job: Job, reader: RemoteReader) -> object:
        run = found.function(job, reader) if found.is_async else self.pool.run(found, job, reader)
        try:
            result = await run
        except SystemExit:
            raise ProcessorError("the processor called exit") from None
        except Exception:
            if reader.fault is not None:  # whatever the processor made of it, this is why
                raise reader.fault from None
            raise
        await reader.prove()
        return result

    async def _deliver(self, tenure: Tenure, verdict: Verdict) -> None:
        failures = 0
        while True:
            try:
                await self._send(tenure, verdict)
                return
            except BrokerRefused as exc:
                refused = _refused(verdict, exc)
                if refused is None:
                    self._tell("report_refused", tenure, verdict, detail=exc.detail)
                    return
                verdict = refused
            except BrokerAway as exc:
                failures += 1
                if _time() > tenure.grant.lease_ends + OVERTIME_SECONDS:
                    self._tell("report_abandoned", tenure, verdict, detail=exc.detail)
                    return
                await REPORT_BACKOFF.wait(failures, at_least=exc.retry_after_seconds)

    async def _send(self, tenure: Tenure, verdict: Verdict) -> None:
        """One try.

        :raises BrokerAway, BrokerRefused:
        """
        lease = tenure.grant.lease
        try:
            if verdict.outcome == "lost":
                raise LeaseLost
            if verdict.outcome == "release":
                ask = contract.ReleaseRequest(lease=lease.token, epoch=lease.epoch, cause="infrastructure")
                await self.broker.release(tenure.job_id, ask, traceparent=tenure.traced.traceparent)
                self._tell("released", tenure, verdict)
                return
            await self.broker.report(
                tenure.job_id,
                contract.ResultRequest(
                    lease=lease.token,
                    epoch=lease.epoch,
                    outcome=verdict.outcome,
                    result=msgspec.Raw(verdict.result),
                    reason=verdict.reason,
                    retry_after_seconds=verdict.retry_after_seconds,
                ),
                traceparent=tenure.traced.traceparent,
            )
            self._tell({"retry": "retried"}.get(verdict.outcome, verdict.outcome), tenure, verdict)
        except LeaseLost:
            self._tell("lost", tenure)

    async def _give_back(self, tenure: Tenure, working: asyncio.Task[Verdict]) -> None:
        """The last word of a worker that stops: the verdict, if there is one, else `drain`."""
        with suppress(ConsumerError, TimeoutError):
            async with asyncio.timeout(LAST_WORD_SECONDS):
                if working.done() and not working.cancelled():
                    await self._send(tenure, working.result())
                    return
                await self._unwind(tenure, working)  # first, so that nobody starts while we still work
                lease = tenure.grant.lease
                ask = contract.ReleaseRequest(lease=lease.token, epoch=lease.epoch, cause="drain")
                await self.broker.release(tenure.job_id, ask)
                self._tell("drained", tenure)

    async def _unwind(self, tenure: Tenure, *tasks: asyncio.Task[None] | asyncio.Task[Verdict]) -> None:
        for task in tasks:
            task.cancel()
        _, stuck = await asyncio.wait(tasks, timeout=UNWIND_SECONDS)
        if stuck:
            self._tell("stuck", tenure)

    def _tell(self, what: str, tenure: Tenure, verdict: Verdict | None = None, *, detail: str | None = None) -> None:
        reason = verdict.reason if verdict else None
        tenure.traced.tell(what, reason.code if reason else None)
        self.events.emit(
            f"job.{what}",
            {
                "session_id": tenure.job_id,
                "epoch": tenure.epoch,
                "trace_id": tenure.traced.trace_id,
                "code": reason.code if reason else None,
                "detail": detail or (reason.message if reason else None),
            },
        )


def _reader(leased: contract.Job, source: Source, spool: Path | None) -> RemoteReader:
    """
    :raises ChecksumNotProvable: found out before the processor runs.
    """
    prover: Callable[[], Prover] = lambda: Prover(leased.prove, leased.checksum)  # noqa: E731
    prover()
    return RemoteReader(source, prover, spool)


async def _timed(found: Processor, run: Awaitable[object]) -> object:
    """
    :raises TimedOut: by our clock; a TimeoutError of the processor's own stays one.
    """
    clock = asyncio.timeout(found.terms.timeout_seconds)
    try:
        async with clock:
            return await run
    except TimeoutError:
        if clock.expired():
            raise TimedOut(f"the processor {found.name} took longer than {found.terms.timeout_seconds} s") from None
        raise


def _refused(verdict: Verdict, exc: BrokerRefused) -> Verdict | None:
    """What to say instead of a report that the broker does not take. None: there is nothing left to say."""
    if exc.status not in {400, 413, 422} or (verdict.reason and verdict.reason.code == "result-refused"):
        return None
    return Verdict(outcome="failed", reason=contract.Reason(code="result-refused", message=exc.detail))


def _is_cancelled() -> bool:
    """Whether somebody asked this task to stop; a processor may also raise CancelledError by itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _time() -> float:
    return asyncio.get_running_loop().time()
