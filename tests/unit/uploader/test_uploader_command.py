"""The command as a person, a pipe and a script see it: output, exit codes, signals."""

import asyncio
import json
import os
import pty
import re
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from uploader_standin import KEY, MakeFile, StandIn

from broker.contract import State

BIG = 24 << 20


async def start(standin: StandIn, *arguments: str, env: dict[str, str] | None = None, **streams: Any) -> Any:
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", "BROKER_URL": standin.broker_url, "BROKER_API_KEY": KEY}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", *arguments),
        env=environment | (env or {}),
        **({"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.PIPE} | streams),
    )


async def run(standin: StandIn, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    process = await start(standin, *arguments, env=env)
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_put_ends_with_one_line_on_stdout(standin: StandIn, make_file: MakeFile) -> None:
    code, out, err = await run(standin, "put", str(make_file(10_000, "report.csv")), "--metadata", "case=17")
    (session,) = standin.sessions.values()
    assert code == 0, err
    assert re.fullmatch(rf"{session.id} verified uploads/{session.id}/report.csv 9.77 KiB \d+\.\d MiB/s\n", out)
    assert err.splitlines()[0].startswith("report.csv: sha256 in ")
    assert err.splitlines()[-1] == "report.csv: verified"
    assert (session.wanted.content_type, session.wanted.metadata) == ("text/csv", {"case": "17"})


async def test_json_prints_one_event_a_line_and_nothing_else(standin: StandIn, make_file: MakeFile) -> None:
    standin.store_faults.extend(["slow-down", "expired"])
    code, out, err = await run(standin, "put", str(make_file(10_000)), "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    names = ["hashed", "minted", "retrying", "reminted", "sent", "state", "finished"]
    assert [event["event"] for event in events] == [f"upload.{name}" for name in names]
    assert events[-1]["state"] == "verified"


async def test_a_failure_is_an_event_too(standin: StandIn, make_file: MakeFile) -> None:
    standin.store_faults.append("refuse-early")
    code, out, err = await run(standin, "put", str(make_file(BIG)), "--json", "--checksum", "none")
    last = json.loads(out.splitlines()[-1])
    assert (code, last["event"], last["code"], last["exit_code"]) == (1, "upload.failed", "store-refused", 1)
    assert "400 EntityTooLarge: about EntityTooLarge" in last["message"]
    assert err == ""


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("refuse-early", 1, "the store refuses the upload: 400 EntityTooLarge"),
        ("truncate", 1, "the session is rejected: It is not what was declared. [size-mismatch]"),
    ],
)
async def test_a_failed_upload_exits_1(
    standin: StandIn, make_file: MakeFile, fault: str, code: int, words: str
) -> None:
    standin.store_faults.append(fault)
    got, out, err = await run(standin, "put", str(make_file(10_000)))
    assert (got, out) == (code, "")
    assert f"error: data.bin: {words}" in err


async def test_wrong_usage_exits_2(standin: StandIn, make_file: MakeFile, tmp_path: Path) -> None:
    path = str(make_file(10))
    for arguments in (["put"], ["put", str(tmp_path / "no")], ["put", path, "--metadata", "x"], ["get", "../x"]):
        code, _, err = await run(standin, *arguments)
        assert (code, "Usage:" in err) == (2, True)
    assert (await run(standin, "put", path, env={"BROKER_API_KEY": ""}))[0] == 2
    assert (await run(standin, "put", path, env={"BROKER_URL": "http://u:p@h"}))[0] == 2
    assert not standin.calls


async def test_a_broker_that_refuses_exits_3_with_field_and_code(standin: StandIn, make_file: MakeFile) -> None:
    code, _, err = await run(standin, "put", str(make_file(10, "a.exe")))
    assert code == 3
    assert "This destination does not take it. [content-type-not-allowed, 422]\n  /filename: not here" in err
    code, _, err = await run(standin, "put", str(make_file(10)), env={"BROKER_API_KEY": "ub_wrong"})
    assert code == 3
    assert "unauthenticated" in err
    assert "ub_wrong" not in err


async def test_a_state_that_does_not_come_exits_4(standin: StandIn, make_file: MakeFile) -> None:
    standin.looks_until_verified = 10_000
    code, _, err = await run(standin, "put", str(make_file(10)), "--timeout", "0.2")
    assert code == 4
    assert "sent, but still pending after 0.2 s; `uploader status " in err


async def test_the_key_may_come_from_a_file(standin: StandIn, make_file: MakeFile, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text(KEY + "\n")
    code, _, err = await run(
        standin, "put", str(make_file(10)), "--key-file", str(key_file), env={"BROKER_API_KEY": "wrong"}
    )
    assert code == 0, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("arguments", [[], ["--keep-session"]])
async def test_an_interrupt_aborts_the_session_and_exits_130(
    standin: StandIn, make_file: MakeFile, arguments: list[str], number: signal.Signals
) -> None:
    standin.store_faults.append("stall")
    process = await start(standin, "put", str(make_file(BIG)), "--checksum", "none", *arguments)
    async with asyncio.timeout(30):
        await standin.body_begun.wait()
        process.send_signal(number)
        out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    expected = State.PENDING if arguments else State.ABORTED
    assert [session.state for session in standin.sessions.values()] == [expected]
    assert b"interrupted" in err
    assert b"Traceback" not in err


async def test_a_second_interrupt_ends_it_at_once(standin: StandIn, make_file: MakeFile) -> None:
    standin.store_faults.append("stall")
    standin.broker_faults["abort"].extend(["busy"] * 1_000)
    is_aborting = asyncio.Event()
    standin.on_busy = is_aborting.set
    process = await start(standin, "put", str(make_file(BIG)), "--checksum", "none")
    async with asyncio.timeout(30):
        await standin.body_begun.wait()
        process.send_signal(signal.SIGINT)
        await is_aborting.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out) == (130, b"")
    assert b"interrupted" not in err  # it did not even come to say so
    assert b"Traceback" not in err


async def test_an_interrupt_while_waiting_aborts_too(standin: StandIn, make_file: MakeFile) -> None:
    standin.looks_until_verified = 10_000
    process = await start(standin, "put", str(make_file(10)))
    await standin.seen("get")
    async with asyncio.timeout(30):
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 130
    assert [session.state for session in standin.sessions.values()] == [State.ABORTED]


async def test_status_prints_state_and_timeline(standin: StandIn, make_file: MakeFile) -> None:
    await run(standin, "put", str(make_file(10)))
    (session_id,) = standin.sessions
    code, out, _ = await run(standin, "status", session_id)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{session_id} verified"
    assert re.fullmatch(r"  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+0000 verified", lines[-1])
    code, out, _ = await run(standin, "status", session_id, "--json")
    assert json.loads(out)["state"] == "verified"
    assert (await run(standin, "status", "nothere"))[0] == 3


async def test_a_terminal_gets_a_bar_with_bytes_rate_and_remarks(standin: StandIn, make_file: MakeFile) -> None:
    standin.store_faults.extend(["slow-down-1s", "hold"])
    ours, theirs = pty.openpty()
    process = await start(
        standin,
        *("put", str(make_file(BIG, "film.mkv"))),
        env={"COLUMNS": "120", "LINES": "30"},
        stderr=theirs,
    )
    os.close(theirs)
    seen = bytearray()
    is_moving = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with suppress(OSError):  # EIO: the other side is closed
            while piece := os.read(ours, 4096):
                seen.extend(piece)
                if re.search(rb"\d/24\.0 MiB", seen):
                    loop.call_soon_threadsafe(is_moving.set)

    reading = asyncio.create_task(asyncio.to_thread(read))
    try:
        async with asyncio.timeout(30):
            await standin.body_begun.wait()
            await is_moving.wait()
            standin.may_go_on.set()
            out, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()  # or the thread would read from its terminal for ever
        await reading
        os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert process.returncode == 0
    assert b" verified uploads/" in out
    assert re.search(r"film\.mkv sending +━+ .*/24\.0 MiB", text)
    assert "film.mkv: send again in 1.0 s, because 503 SlowDown" in text


async def test_help_names_every_exit_code(standin: StandIn) -> None:
    every = ["0", "1", "2", "3", "4", "5", "130"]
    for arguments, codes in (
        (["--help"], every),
        (["put", "--help"], every),
        (["status", "--help"], [*every[:5], "130"]),
    ):
        code, out, _ = await run(standin, *arguments)
        assert code == 0
        assert re.findall(r"^  +(\d+) ", out, re.MULTILINE) == codes
