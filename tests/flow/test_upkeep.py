"""Sweeping and recovering against the real thing: Redis lost, wrong or restored, a sweeper killed, bytes come late."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from broker.dev.stack import Stack, StackOptions, start_stack
from broker.ledger.wire import Wire
from tests.owners import Owner, owner_of

SECONDS = 60
POLICY = {"first_look": "1s", "url_ttl": "2s", "grace": "1s"}
BODY = b"123456789"


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its signed requests end soon: what comes later is late."""
    directory = tmp_path_factory.mktemp("upkeep") / "dev"
    running = start_stack(StackOptions(directory=directory, provider=request.param, policy=POLICY))
    yield running
    running.stop()


@pytest.fixture
def site(stack: Stack) -> Iterator["Site"]:
    with closing(owner_of(stack)) as owner:
        found = Site(stack, owner)
        found.eventually(lambda: "uploads/.broker" in found.stored())
        yield found


class Site:
    """What clients, neighbours and operators do."""

    def __init__(self, stack: Stack, owner: Owner) -> None:
        self.stack, self.about, self.owner = stack, stack.about, owner

    # --- clients

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {self.about.api_key}", "content-type": "application/json"}
        request = urllib.request.Request(self.about.broker + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.load(response)

    def minted(self) -> Any:
        return self.call("POST", "/upload-sessions", {"filename": "a.txt", "size_bytes": len(BODY)})

    def sent(self, session: Any) -> Any:
        wanted = session["upload"]["request"]
        request = urllib.request.Request(wanted["url"], BODY, wanted["headers"], method="PUT")
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            assert response.status == 200
        return session

    def processed(self, session: Any) -> Any:
        self.eventually(lambda: self.state(session) == "processed")
        return session

    def state(self, session: Any) -> str:
        found: str = self.call("GET", f"/upload-sessions/{session['id']}")["state"]
        return found

    def sent_late(self, session: Any) -> str:
        """What a slow PUT would have left, long after it began: a signed request cannot be sent any more."""
        headers: dict[str, str] = session["upload"]["request"]["headers"]
        (capsule,) = (value for name, value in headers.items() if name.endswith("-meta-upload-session"))
        key: str = session["object"]["key"]
        self.put(key, BODY, content_type=headers["content-type"], metadata={"upload-session": capsule})
        return key

    def put(self, key: str, body: bytes, **how: Any) -> None:
        asyncio.run(self.owner.put(self.about.bucket, key, body, **how))

    def aborted(self) -> Any:
        session = self.minted()
        assert self.call("DELETE", f"/upload-sessions/{session['id']}")["state"] == "aborted"
        return session

    # --- operators

    def run(self, *argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*argv), env=self.env | env, capture_output=True, text=True, timeout=SECONDS, check=False
        )

    def reports(self, *argv: str, **env: str) -> Any:
        done = self.run(*argv, "--json", **env)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return json.loads(line)

    def argv(self, *argv: str) -> list[str]:
        config = self.stack.broker.argv[self.stack.broker.argv.index("--config") + 1]
        return [sys.executable, "-m", "broker", argv[0], "--config", config, *argv[1:]]

    @property
    def env(self) -> dict[str, str]:
        return dict(os.environ) | dict(self.stack.broker.env)

    def redis(self, act: Callable[[Wire], Awaitable[Any]]) -> Any:
        async def run() -> Any:
            async with wire_to(self.about.redis) as wire:
                return await act(wire)

        return asyncio.run(run())

    def flush(self) -> None:
        self.redis(lambda wire: wire.call("FLUSHALL"))

    def misbehave(self, **faults: float) -> None:
        url = f"{self.about.store}/_emulator/faults"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(faults).encode(), method="PUT"), timeout=10):
            return

    # --- what there is to see

    def stored(self) -> set[str]:
        return {*asyncio.run(self.owner.digests(self.about.bucket, ""))}

    def is_at_rest(self) -> bool:
        """No signed request lives any more, and nobody will look again."""
        return self.redis(lambda wire: wire.call("ZCARD", "due:{00}")) == 0

    def eventually(self, happened: Callable[[], bool]) -> None:
        end = time.monotonic() + SECONDS
        while not happened():
            assert time.monotonic() < end
            time.sleep(0.05)


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    wire = Wire(url)
    yield wire
    await wire.close()


async def dumped(wire: Wire) -> dict[bytes, tuple[bytes, int]]:
    """Everything in Redis, as a backup has it."""
    keys = await wire.call("KEYS", "*")
    return {key: (await wire.call("DUMP", key), await wire.call("PTTL", key)) for key in keys}


async def restored(wire: Wire, backup: dict[bytes, tuple[bytes, int]]) -> None:
    await wire.call("FLUSHALL")
    for key, (value, left) in backup.items():
        await wire.call("RESTORE", key, max(left, 0), value)


def test_a_dry_run_is_read_by_people_and_changes_nothing(site: Site) -> None:
    session = site.processed(site.sent(site.minted()))
    site.put("uploads/readme.txt", b"")
    before = site.stored()

    done = site.run("sweep")

    assert done.returncode == 0, done.stderr
    assert "only looked: nothing was changed" in done.stdout
    assert "not under a key of the broker's making" in done.stdout
    assert site.stored() == before >= {session["object"]["key"], "uploads/readme.txt"}


def test_in_the_wrong_database_nothing_is_listed_deleted_or_adopted(site: Site) -> None:
    site.processed(site.sent(site.minted()))
    before = site.stored()
    wrong = {"BROKER_LEDGER__URL": site.about.redis.removesuffix("/0") + "/1"}

    for argv in (("sweep", "--delete"), ("recover",), ("sweep",)):
        done = site.run(*argv, **wrong)
        assert done.returncode == 2
        assert "Redis is empty, or the wrong database" in done.stderr
        assert "Traceback" not in done.stderr

    assert site.stored() == before
    assert site.run("sweep", "nowhere").stderr == "upload-broker: there is no destination 'nowhere'\n"


def test_from_an_emptied_redis_every_upload_comes_back_as_a_job(site: Site) -> None:
    sessions = [site.processed(site.sent(site.minted())) for _ in range(3)]
    before = site.stored()
    site.flush()
    assert site.run("sweep", "--delete").returncode == 2
    assert site.run("recover").returncode == 2
    assert site.stored() == before

    report = site.reports("recover", "--take-over")

    assert report["adopted"]["objects"] == report["listed"]["objects"] >= 3
    for session in sessions:
        site.processed(session)
    again = site.reports("recover")
    assert (again["adopted"]["objects"], again["known"]["objects"]) == (0, report["adopted"]["objects"])
    assert site.reports("sweep", "--delete")["live"]["objects"] == report["adopted"]["objects"]
    assert site.stored() == before


def test_a_restored_old_redis_gets_back_what_came_since_and_deletes_nothing(site: Site) -> None:
    old = site.processed(site.sent(site.minted()))
    pending = site.minted()
    backup = site.redis(dumped)
    since = [site.processed(site.sent(session)) for session in (pending, site.minted())]
    before = site.stored()
    site.redis(lambda wire: restored(wire, backup))

    report = site.reports("sweep", "--delete")

    assert (report["adopted"]["objects"], report["removed"]["objects"]) == (1, 0)
    for session in (old, *since):
        site.processed(session)
    assert site.stored() == before


def test_late_bytes_whose_event_was_lost_are_swept_by_several_at_once(site: Site) -> None:
    live = site.processed(site.sent(site.minted()))
    dead = [site.aborted() for _ in range(5)]
    site.misbehave(events_lost=1.0)
    try:
        site.eventually(site.is_at_rest)
        late = {site.sent_late(session) for session in dead}
        assert late <= site.stored()
        with ThreadPoolExecutor() as pool:
            reports = [*pool.map(lambda _: site.reports("sweep", "--delete"), range(3))]
    finally:
        site.misbehave()

    assert sum(report["removed"]["objects"] for report in reports) == 5
    assert not late & site.stored()
    assert live["object"]["key"] in site.stored()


def test_killed_in_the_middle_a_sweep_is_ended_by_the_next_one(site: Site) -> None:
    live = [site.processed(site.sent(site.minted())) for _ in range(3)]
    site.misbehave(events_lost=1.0)
    try:
        with ThreadPoolExecutor(16) as pool:
            dead = [*pool.map(lambda _: site.aborted(), range(200))]
            site.eventually(site.is_at_rest)
            late = {*pool.map(site.sent_late, dead)}
        argv = site.argv("sweep", "--delete", "--max-percent", "100")
        with subprocess.Popen(argv, env=site.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sweeper:
            site.eventually(lambda: not late <= site.stored())
            sweeper.send_signal(signal.SIGKILL)
        left = late & site.stored()
        stopped = site.run("sweep", "--delete", "--max-percent", "1") if len(left) > 10 else None
        ended = site.reports("sweep", "--delete", "--max-percent", "100")
    finally:
        site.misbehave()

    if stopped is not None:
        assert stopped.returncode == 3
        assert "STOPPED" in stopped.stdout
    assert ended["removed"]["objects"] == len(left)
    assert not late & site.stored()
    assert {session["object"]["key"] for session in live} <= site.stored()


def test_a_sweeper_that_stays_reports_every_pass_and_ends_when_told(site: Site, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    argv = site.argv("sweep", "--every", "100ms", "--json", "--alive-file", str(alive))
    with subprocess.Popen(argv, env=site.env, stdout=subprocess.PIPE, text=True) as sweeper:
        assert sweeper.stdout is not None
        passes = [json.loads(sweeper.stdout.readline()) for _ in range(3)]
        sweeper.send_signal(signal.SIGTERM)
        assert sweeper.wait(SECONDS) == 0
    assert alive.exists(), "touched after each pass"
    assert all(report["is_dry_run"] for report in passes)
    assert len({report["started_at"] for report in passes}) == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("sweep", "--every", "often"), "--every: a duration is written"),
        (("recover", "--created-after", "2026-11-20"), "--created-after: a moment is written with its offset"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(site: Site, argv: tuple[str, ...], words: str) -> None:
    done = site.run(*argv)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_that_does_not_answer_is_worth_another_try_and_no_sign_of_life(site: Site, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    alive.touch()
    done = site.run("sweep", "--alive-file", str(alive), BROKER_DESTINATIONS__DEFAULT__ENDPOINT="http://127.0.0.1:1")
    assert not alive.exists()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("upload-broker: default: the store does not answer")
