"""Every sample of docs/guides/processors.md, run by the real worker on the real stack."""

import asyncio
import io
import os
import re
import runpy
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.contract import State
from broker.dev.stack import Stack
from consumer.command import Settings
from consumer.verdicts import OUTCOMES
from tests.guides.test_guides import ROOT, blocks
from uploader import Uploader, UploadFailed

PAGE = ROOT / "docs" / "guides" / "processors.md"
MINUTE = timedelta(minutes=1)
SAMPLES = dict(blocks(PAGE, "python"))


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples as modules, and one that has the processors of all."""
    directory = tmp_path_factory.mktemp("application")
    for name, text in SAMPLES.items():
        (directory / name).write_text(text)
    modules = [Path(name).stem for name in SAMPLES if not name.startswith("test_")]
    (directory / "everything.py").write_text("".join(f"from {module} import *\n" for module in modules))
    return directory


@pytest.fixture
async def worker(stack: Stack, application: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "consumer", "run", "everything", "--app-dir", str(application)),
        cwd=ROOT,
        env=os.environ | {"BROKER_URL": stack.about.broker, "BROKER_CONSUMER_KEY": stack.about.consumer_key},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
        process.terminate()
        async with asyncio.timeout(30):
            _, said = await process.communicate()
        sys.stderr.write(said.decode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def archive(entries: int) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for number in range(entries):
            file.writestr(f"{number}.txt", b"x" * 10)
    return made.getvalue()


@pytest.mark.usefixtures("worker")
async def test_the_samples_do_what_the_guide_says(uploader: Uploader, application: Path) -> None:
    async def result(body: bytes, kind: str) -> object:
        put = await uploader.put(body, filename="a", content_type=kind, wait="processed", timeout=MINUTE)
        return put.session.result

    assert await result(b"a,b\n1,2\n", "text/csv") == {"rows": 2}
    assert await result(archive(3), "application/zip") == {"entries": 3, "unpacked_bytes": 30}
    assert await result(b"{}\n\n{}\n", "application/x-ndjson") == {"points": 2}
    with closing(sqlite3.connect(application / "points.db")) as database:
        assert [points for (points,) in database.execute("SELECT points FROM imports")] == [2]
    put = await uploader.put(b"1", filename="a", content_type="application/json", wait="processed", timeout=MINUTE)
    assert put.session.result == {"indexed": put.session.id}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("body", "kind", "state", "code"),
    [
        (b"{", "application/json", State.REJECTED, "not-json"),
        (b'"away"', "application/json", State.FAILED, "processor-retry"),  # after max_failures of them
        (b"[" + b" " * 1_000_000 + b"]", "application/json", State.FAILED, "too-large-for-memory"),
        (b"no archive", "application/zip", State.REJECTED, "bad-archive"),
        (b"x" * 1_100_000, "text/csv", State.REJECTED, "line-too-long"),
        (b"x", "video/mp4", State.FAILED, "no-processor"),
    ],
)
async def test_the_samples_say_no_as_the_guide_says(
    uploader: Uploader, body: bytes, kind: str, state: State, code: str
) -> None:
    with pytest.raises(UploadFailed) as refused:
        await uploader.put(body, filename="a", content_type=kind, wait="processed", timeout=MINUTE)
    session = await uploader.status(str(refused.value.session_id))
    assert (session.state, getattr(session.reason, "code", None)) == (state, code)


def test_a_late_try_does_not_overwrite_a_later_one(tmp_path: Path) -> None:
    """The same job, tried twice, and the first try wakes up last."""
    (tmp_path / "points.py").write_text(SAMPLES["points.py"])
    points = runpy.run_path(str(tmp_path / "points.py"))
    for epoch, lines in ((2, [b"{}"] * 20), (1, [b"{}"])):
        job = SimpleNamespace(id="job", lease=SimpleNamespace(epoch=epoch))
        points["load"](job, SimpleNamespace(iter_lines=lambda lines=lines: iter(lines)))
    with closing(sqlite3.connect(tmp_path / "points.db")) as database:
        assert list(database.execute("SELECT * FROM imports")) == [("job", 2, 20)]


def test_the_test_of_the_guide_passes(application: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "test_rows.py"],
        cwd=application,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def rows_of_outcomes() -> Iterator[tuple[str, set[str]]]:
    for line in PAGE.read_text().partition("| what happens |")[2].splitlines()[1:]:
        if not line.startswith("|"):
            if line:
                return
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if outcome := re.match(r"`(\w+)`", cells[1]) if len(cells) > 1 else None:
            yield outcome[1], set(re.findall(r"`([\w-]+)`", cells[2]))


def test_the_table_of_outcomes_is_the_worker_s() -> None:
    told = {(outcome, code) for outcome, codes in rows_of_outcomes() for code in codes}
    assert {(outcome, kind.code) for kind, outcome in OUTCOMES.items() if kind.__name__ != "Reject"} <= told
    assert ("rejected", "processor-rejected") in told


def test_the_options_that_the_guide_names_are_the_worker_s() -> None:
    named = {option[2:].replace("-", "_") for option in re.findall(r"`(--[a-z-]+)", PAGE.read_text())}
    assert {"pass_env", "jobs_per_process", "spool_dir", "concurrency", "drain_seconds"} == named
    assert named <= set(Settings.__dataclass_fields__)
