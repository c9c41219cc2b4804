"""Webhooks of the real thing: real processes, a real receiver, `kill -9`, and the commands of an operator."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from broker.contract import State
from broker.dev.stack import Stack, StackOptions, start_stack
from tests.webhook_receiver import Receiver, answering, hang, receiving
from uploader import Uploader

MINUTE = timedelta(minutes=1)


@asynccontextmanager
async def stack_of(directory: Path, **receivers: Receiver) -> AsyncIterator[Stack]:
    options = StackOptions(
        directory=directory,
        webhooks={name: receiver.url for name, receiver in receivers.items()},
        webhook_timeout="1s",
    )
    running = await asyncio.to_thread(start_stack, options)
    try:
        yield running
    finally:
        await asyncio.to_thread(running.stop)


def secret_of(stack: Stack) -> str:
    known = json.loads((stack.options.directory / "credentials.json").read_text())
    return str(known["webhook_secret"])


async def uploaded(stack: Stack, folder: Path, name: str = "hello.txt") -> str:
    path = folder / name
    path.write_bytes(b"hello")
    async with Uploader(stack.about.broker, stack.about.api_key) as uploader:
        result = await uploader.put(path, wait=State.PROCESSED, timeout=MINUTE)
    return result.session.id


def types_of(receiver: Receiver, session_id: str) -> list[str]:
    return [heard.type for heard in receiver.heard if heard.session_id == session_id]


async def command(stack: Stack, *argv: str, status: int = 0) -> str:
    config = ["--config", str(stack.options.directory / "broker.toml")]
    env = dict(os.environ) | stack.broker.env
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "broker", "webhooks", *argv, *config],
        env=env,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


async def test_an_upload_is_told_at_once_although_another_webhook_hangs(tmp_path: Path) -> None:
    async with (
        receiving() as crm,
        receiving(usual=hang) as stuck,
        stack_of(tmp_path / "dev", crm=crm, stuck=stuck) as stack,
    ):
        session_id = await uploaded(stack, tmp_path)
        await crm.until(lambda: len(crm.heard) == 2)
        assert types_of(crm, session_id) == ["session.verified", "session.processed"]
        verified, processed = crm.verified_by(secret_of(stack))
        assert verified["data"]["stored"]["size_bytes"] == 5
        assert processed["data"]["result"]["size_bytes"] == 5
        log = stack.broker.log.read_text()
        assert crm.url not in log
        assert secret_of(stack) not in log
        assert set(types_of(stuck, session_id)) == {"session.verified"}


async def test_what_a_killed_broker_was_telling_is_told_again_in_order(tmp_path: Path) -> None:
    async with receiving(usual=hang) as crm, stack_of(tmp_path / "dev", crm=crm) as stack:
        session_id = await uploaded(stack, tmp_path)
        await crm.until(lambda: len(crm.heard) == 1)
        await asyncio.to_thread(stack.broker.kill)
        crm.usual = answering(204)
        await asyncio.to_thread(stack.broker.start)
        await crm.until(lambda: "session.processed" in types_of(crm, session_id), seconds=30)
        assert list(dict.fromkeys(types_of(crm, session_id))) == ["session.verified", "session.processed"]
        assert types_of(crm, session_id)[-1] == "session.processed"
        assert len({heard.headers["webhook-id"] for heard in crm.heard}) == 2


async def test_an_operator_lists_reads_replays_tests_and_forgets(tmp_path: Path) -> None:
    async with receiving(manners=[answering(500)]) as crm, stack_of(tmp_path / "dev", crm=crm) as stack:
        session_id = await uploaded(stack, tmp_path)
        await crm.until(lambda: len(crm.heard) == 3, seconds=15)

        listed = await command(stack, "list")
        assert re.match(
            r"crm +http://127\.0\.0\.1:\d+ +expired,failed,processed,rejected,verified +\d waiting\n", listed
        )
        assert "/hook" not in listed

        lines = (await command(stack, "log", "crm")).splitlines()
        assert [re.split(r" +", line)[4:7] for line in lines] == [
            ["1", "failed", "500"],
            ["2", "delivered", "200"],
            ["1", "delivered", "200"],
        ]
        (failed,) = (await command(stack, "log", "crm", "--failed", "--json")).splitlines()
        assert json.loads(failed)["session_id"] == session_id
        assert await command(stack, "log", "crm", "--session", "00" + "a" * 26) == ""

        told = await command(stack, "replay", "crm", "--session", session_id)
        assert told == "2 events will be told, 0 of them were waiting\n"
        await crm.until(lambda: len(crm.heard) == 5)
        assert types_of(crm, session_id)[-2:] == ["session.verified", "session.processed"]
        assert len({heard.headers["webhook-id"] for heard in crm.heard}) == 2
        assert (await command(stack, "replay", "crm", "--since", "2026-01-01T00:00:00Z")).startswith("2 events")
        assert (await command(stack, "replay", "crm", "--failed")).startswith("0 events")

        await crm.until(lambda: len(crm.heard) == 7)
        assert await command(stack, "test", "crm") == "crm answered 200\n"
        assert crm.verified_by(secret_of(stack))[-1]["type"] == "webhook.test"
        crm.usual = answering(401)
        assert "was not told: 401" in await command(stack, "test", "crm", status=2)

        assert "say one of" in await command(stack, "replay", "crm", status=2)
        assert "no session id" in await command(stack, "replay", "crm", "--session", "x", status=2)
        assert "no webhook 'bi'" in await command(stack, "test", "bi", status=2)
        assert "no webhook 'bi'" in await command(stack, "forget", "bi", status=2)
        assert "stands in the configuration" in await command(stack, "forget", "crm", status=2)

        config = stack.options.directory / "broker.toml"
        config.write_text(re.sub(r"\[webhooks\.crm\][^\[]*\[\{[^\[]*", "", config.read_text()))
        assert "not configured" in await command(stack, "list")
        await command(stack, "forget", "crm")
        assert await command(stack, "log", "crm") == ""


async def test_a_process_that_does_not_relay_calls_nobody(tmp_path: Path) -> None:
    async with receiving() as crm, stack_of(tmp_path / "dev", crm=crm) as stack:
        await asyncio.to_thread(stack.broker.stop)
        stack.broker.argv.append("--no-relay")
        await asyncio.to_thread(stack.broker.start)
        await uploaded(stack, tmp_path)
        assert crm.connections == 0
        stack.broker.argv.remove("--no-relay")
        await asyncio.to_thread(stack.broker.kill)
        await asyncio.to_thread(stack.broker.start)
        await crm.until(lambda: len(crm.heard) == 2)
