"""`put` in a process of its own, as a shell starts it."""

import asyncio
import os
import sys
from pathlib import Path

from uploader_standin import KEY


async def put_command(
    broker_url: str, state: Path, path: Path, *arguments: str, start_new_session: bool = False
) -> asyncio.subprocess.Process:
    """:param state: where it keeps its notes. `start_new_session`: it has a process group of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uploader", "put", str(path), *arguments),
        env={
            "PATH": os.environ["PATH"],
            "XDG_STATE_HOME": str(state.parent),
            "BROKER_URL": broker_url,
            "BROKER_API_KEY": KEY,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=start_new_session,
    )


async def finished(process: asyncio.subprocess.Process) -> tuple[int | None, str, str]:
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()
