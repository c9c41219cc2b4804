"""`put` of trees as a person, a pipe and a script see it: output, exit codes, signals, and what is odd."""

import asyncio
import json
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from many_standin import Many
from tree_manifests import opened, states, write
from uploader_standin import KEY, QUICK, serving

from uploader.__main__ import main
from uploader.priority import NICE

FILES = 20


@pytest.fixture
async def many() -> AsyncIterator[Many]:
    async with serving(Many()) as started:
        assert isinstance(started, Many)
        yield started


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number in range(FILES):
        write(tmp_path / "photos" / f"{number % 3}" / f"{number}.jpg", 100 + number)
    return tmp_path / "photos"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "m.sqlite"


async def start(
    many: Many, *arguments: str | Path, limit: Callable[[], None] | None = None, **environment: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", "put", *map(str, arguments)),
        env={"PATH": os.environ["PATH"], "BROKER_URL": many.broker_url, "BROKER_API_KEY": KEY, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=limit,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert b"Traceback" not in err
    return process.returncode, out.decode(), err.decode()


async def run(many: Many, *arguments: str | Path, **environment: str) -> tuple[int | None, str, str]:
    return await ended(await start(many, *arguments, **environment))


async def test_a_tree_ends_with_its_counts_on_stdout_and_again_with_one_line(
    many: Many, tree: Path, manifest: Path
) -> None:
    code, out, err = await run(many, tree, "--manifest", manifest)
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "verified      20 files, 2.14 KiB"
    assert re.fullmatch(r"sent          20 files, 2\.14 KiB in \d+\.\d s \(\d+\.\d MiB/s, [\d,]+ files/s\)", lines[1])
    assert lines[2:] == []
    assert f"nice {NICE}" in err
    assert set(many.paths().values()) == {1}
    code, out, _ = await run(many, tree, "--manifest", manifest)
    assert (code, out) == (0, "nothing to send: 20 files, 2.14 KiB are verified\n")


async def test_json_is_json_lines_and_nothing_else(many: Many, tree: Path, manifest: Path) -> None:
    code, out, err = await run(many, tree, "--manifest", manifest, "--json", "--no-nice")
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert (events[0]["event"], events[-1]["event"]) == ("tree.began", "tree.finished")
    assert (events[0]["nice"], events[-1]["exit_code"]) == ("nice 0, usual I/O priority", 0)
    assert sum(event["event"] == "file.verified" for event in events) == FILES


async def test_what_failed_is_said_first_and_how_to_go_on_last(many: Many, tree: Path, manifest: Path) -> None:
    write(tree / "bad\n.exe", 5)
    (tree / "link").symlink_to("0")
    code, out, err = await run(many, tree, "--manifest", manifest)
    assert code == 1
    last = err.splitlines()[-1]
    assert last.startswith(f"failed: {tree}/bad\\n.exe: ")
    assert "content-type-not-allowed" in last
    assert out.splitlines()[2:] == [
        f"skipped       1 file; why: `uploader failures --all --manifest {manifest}`",
        "failed        1 file",
        f"to send again what failed: `uploader retry --manifest {manifest}`, then the same command",
    ]
    code, out, _ = await run(many, tree, "--manifest", manifest, "--json")  # nothing is tried again by itself
    assert (code, json.loads(out.splitlines()[-1])["sent_files"]) == (1, 0)
    (tree / "bad\n.exe").unlink()
    code, out, _ = await run(many, tree, "--manifest", manifest)
    assert (code, out.splitlines()[0]) == (0, "nothing to send: 20 files, 2.14 KiB are verified")


async def test_a_directory_that_cannot_be_read_is_no_success(many: Many, tree: Path, manifest: Path) -> None:
    shut = tree / "shut"
    shut.mkdir()
    deepest = os.open(shut, os.O_RDONLY)
    for _ in range(20):  # deeper than any path may be long (Linux, PATH_MAX): root cannot read it, either
        os.mkdir("d" * 250, dir_fd=deepest)
        deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=deepest)
        os.close(deepest)
        deepest = deeper
    os.close(os.open("lost.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=deepest))
    os.close(deepest)
    for _ in range(2):
        code, out, err = await run(many, tree, "--manifest", manifest)
        assert (code, many.paths().total()) == (1, FILES)
        last = f"failed: a file or directory could not be read: `uploader failures --all --manifest {manifest}`"
        assert err.splitlines()[-1] == last
        assert f"skipped       1 file; why: `uploader failures --all --manifest {manifest}`" in out.splitlines()
    shutil.rmtree(shut)
    code, out, _ = await run(many, tree, "--manifest", manifest)
    assert (code, out) == (0, "nothing to send: 20 files, 2.14 KiB are verified\n")


async def test_what_is_new_is_sent_and_all_that_is_there_is_counted(many: Many, tree: Path, manifest: Path) -> None:
    await run(many, tree, "--manifest", manifest)
    write(tree / "new", 50)
    code, out, _ = await run(many, tree, "--manifest", manifest)
    lines = out.splitlines()
    assert (code, lines[0]) == (0, "verified      21 files, 2.19 KiB")
    assert lines[1].startswith("sent          1 file, 50 B in ")
    assert lines[2:] == []


async def test_files_and_directories_in_one_command(many: Many, tree: Path, manifest: Path) -> None:
    alone = write(tree.parent / "alone.txt", 3)
    (tree.parent / "empty").mkdir()
    code, _, err = await run(many, tree, alone, tree.parent / "empty", "--manifest", manifest)
    assert code == 0, err
    assert many.paths()["alone.txt"] == 1
    assert len(many.paths()) == FILES + 1


async def test_an_empty_directory_is_nothing_to_send(many: Many, tmp_path: Path, manifest: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, _ = await run(many, tmp_path / "empty", "--manifest", manifest)
    assert (code, out) == (0, "nothing to send: there are no files\n")
    assert many.batches == []


async def test_wrong_usage_exits_2_and_begins_nothing(many: Many, tree: Path, manifest: Path) -> None:
    for words, said in (
        ([], "name what to upload"),
        ([tree, tree / "no"], "does not exist"),
        ([tree, tree / "0"], "would be sent twice"),
        ([tree, "--filename", "x"], "--filename is for one file"),
        ([tree, "--metadata", "path=x"], "the uploader declares it itself"),
        ([tree, "--jobs", "0"], "is not in the range"),
        ([tree, "--memory", "1KiB"], "'1KiB' is less than"),
        ([tree, "--exclude", ""], "matches nothing"),
        ([tree, "--destination", "a", "--destination", "a"], "named twice"),
    ):
        given = [*words, "--manifest", manifest] if words else []
        code, out, err = await run(many, *given, XDG_STATE_HOME=str(manifest.parent / "state"))
        assert (code, out, said in " ".join(err.split())) == (2, "", True), err
    assert (await run(many, tree, "--manifest", manifest, BROKER_API_KEY=""))[0] == 2
    assert (many.calls, manifest.exists()) == ([], False)  # noqa: ASYNC240


async def test_a_key_that_is_not_valid_stops_the_run_and_loses_nothing(many: Many, tree: Path, manifest: Path) -> None:
    code, out, err = await run(many, tree, "--manifest", manifest, BROKER_API_KEY="ub_wrong")
    assert code == 3
    assert "unauthenticated" in err
    assert "ub_wrong" not in out + err
    assert (
        out.splitlines()[-1] == "once the broker takes it: the same command again; what is verified is not sent again"
    )
    assert (await run(many, tree, "--manifest", manifest))[0] == 0
    assert len(many.paths()) == FILES


def test_a_broker_that_is_away_exits_4_and_the_manifest_waits(
    tree: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr("uploader.sdk.RetryPolicy", lambda: QUICK)
    environment = {"BROKER_URL": f"http://127.0.0.1:{unused_tcp_port}", "BROKER_API_KEY": KEY}
    done = CliRunner().invoke(main, ["put", str(tree), "--manifest", str(manifest), "--no-nice"], env=environment)
    assert done.exit_code == 4, done.output
    assert f"not sent      {FILES} files" in done.stdout
    assert "error: " in done.stderr
    assert set(states(manifest).values()) == {"pending"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_leaves_a_manifest_that_the_same_command_goes_on_with(
    many: Many, tree: Path, manifest: Path, number: signal.Signals
) -> None:
    many.store_faults.extend([None] * 5 + ["stall"] * 100)
    process = await start(many, tree, "--manifest", manifest, "--jobs", "4")
    async with asyncio.timeout(30):
        await many.body_begun.wait()
    process.send_signal(number)
    code, out, err = await ended(process)
    assert (code, out) == (130, "")
    assert re.fullmatch(
        rf"interrupted; \d+ of {FILES} files verified; to go on: the same command again; "
        "what is verified is not sent again",
        err.splitlines()[-1],
    )
    many.store_faults.clear()
    assert not set(states(manifest).values()) & {"claimed"}
    code, _, err = await run(many, tree, "--manifest", manifest)
    assert code == 0, err
    assert (len(many.paths()), set(many.paths().values())) == (FILES, {1})
    assert len(many.sessions) == FILES  # the same sessions were gone on with


async def test_a_second_put_of_the_same_tree_says_who_is_at_work(many: Many, tree: Path, manifest: Path) -> None:
    with opened(manifest, tree):
        code, out, err = await run(many, tree, "--manifest", manifest)
    assert (code, out) == (1, "")
    assert err.endswith(f"error: {tree}: {manifest}: another uploader is at work on it (process {os.getpid()})\n")


async def test_the_manifest_of_another_upload_is_refused(many: Many, tree: Path, manifest: Path) -> None:
    with opened(manifest, tree):
        pass
    code, _, err = await run(many, tree, "--manifest", manifest, "--batch", "b")
    assert (code, "the manifest of another upload: to the broker" in err) == (1, True)


async def test_a_manifest_alone_says_what_to_go_on_with(many: Many, tree: Path, manifest: Path) -> None:
    await run(many, tree, "--manifest", manifest, "--batch", "b")
    write(tree / "new", 7)
    code, out, _ = await run(many, "--manifest", manifest)
    assert (code, out.splitlines()[0]) == (0, "verified      21 files, 2.15 KiB")
    assert [session.wanted.batch for session in many.sessions.values()] == ["b"] * (FILES + 1)


async def test_without_a_place_for_the_manifest_it_says_so(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    environment = {"BROKER_URL": "http://127.0.0.1:1", "BROKER_API_KEY": KEY, "XDG_STATE_HOME": ""}
    done = CliRunner().invoke(main, ["put", str(tree)], env=environment)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "there is no home directory to keep a manifest in: give --manifest FILE" in done.stderr


async def test_a_disk_that_is_full_is_said_and_sends_nothing_unwritten(many: Many, tree: Path, manifest: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # EFBIG, as a full disk is ENOSPC

    process = await start(many, tree, "--manifest", manifest, "--no-nice", limit=limit)
    code, _, err = await ended(process)
    assert code == 1
    assert "disk" in err
    assert many.puts == []
    assert (await run(many, tree, "--manifest", manifest))[0] == 0
    assert set(many.paths().values()) == {1}


async def test_a_reader_that_goes_away_ends_it_without_a_fuss(many: Many, tree: Path, manifest: Path) -> None:
    for arguments in ([], ["--json"]):
        process = await start(many, tree, "--manifest", manifest, *arguments)
        assert process.stdout is not None
        process.stdout._transport.close()  # type: ignore[attr-defined]
        async with asyncio.timeout(60):
            assert process.stderr is not None
            err = await process.stderr.read()
            await process.wait()
        assert b"Traceback" not in err
        assert b"Exception" not in err
    assert (await run(many, tree, "--manifest", manifest))[0] == 0
    assert (len(many.paths()), set(many.paths().values())) == (FILES, {1})


async def test_status_failures_retry_and_export_are_of_the_same_words(many: Many, tree: Path, tmp_path: Path) -> None:
    write(tree / "bad.exe", 5)
    environment = {"BROKER_URL": many.broker_url, "XDG_STATE_HOME": str(tmp_path / "state")}
    await run(many, tree, "--batch", "b", XDG_STATE_HOME=str(tmp_path / "state"))

    def said(command: str, *more: str) -> Any:
        return CliRunner().invoke(main, [command, str(tree), "--batch", "b", *more], env=environment)

    assert (said("status").exit_code, "verified            20" in said("status").stdout) == (1, True)
    assert said("failures").stdout.startswith(f"{tree}/bad.exe: ")
    assert said("retry").stdout == "1 file is to be sent again\n"
    assert len(said("export").stdout.splitlines()) == FILES + 1


async def test_files_that_are_declared_otherwise_now_get_new_sessions(many: Many, tree: Path, manifest: Path) -> None:
    many.store_faults.extend(["stall"] * 100)
    process = await start(many, tree, "--manifest", manifest, "--jobs", "4")
    async with asyncio.timeout(30):
        await many.body_begun.wait()
    process.send_signal(signal.SIGINT)
    assert (await ended(process))[0] == 130
    many.store_faults.clear()
    code, _, err = await run(many, tree, "--manifest", manifest, "--metadata", "case=18")
    assert code == 0, err
    assert (len(many.paths()), set(many.paths().values())) == (FILES, {1})
    there = [session for session in many.sessions.values() if session.key in many.objects]
    assert {session.wanted.metadata["case"] for session in there} == {"18"}
