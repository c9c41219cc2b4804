"""One small PUT: the CPU time of our client for bodies in memory against bare aiohttp, on an nginx that takes all.

python bench/lanes.py [--check]

Both sides run on uvloop in this process, send the same signed-looking requests of 4 KiB from 16 workers on kept
connections, and look at the status alone. Counted is the CPU time of this process, the kernel's part of it included.
"""

import asyncio
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
import uvloop

from bench._harness import print_conditions, print_table, report_at_most, take_turns, wants_check
from bench._sink import start_nginx
from broker.contract import SignedRequest
from uploader.lanes import Lanes
from uploader.sender import SKIPPED_HEADERS, signed_url

BAR = 0.5
TURNS = 6
PUTS = 5_000
WORKERS = 16
BODY = bytes(4096)
HEADERS = {
    "Content-Type": "application/octet-stream",
    "x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    "x-amz-meta-upload-session": "c" * 180,
}
QUERY = "?" + urlencode(
    {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": "AKIAIOSFODNN7EXAMPLE/20261121/eu-central-1/s3/aws4_request",
        "X-Amz-Date": "20261121T093000Z",
        "X-Amz-Expires": "900",
        "X-Amz-SignedHeaders": "content-length;content-type;host;x-amz-checksum-sha256;x-amz-meta-upload-session",
        "X-Amz-Signature": "a" * 64,
    }
)

Send = Callable[[SignedRequest], Awaitable[int]]
NUMBERS = count()


def requests(url: str) -> list[SignedRequest]:
    """Fresh names, so that nothing is overwritten."""
    expires_at = datetime.now(UTC) + timedelta(minutes=15)
    return [
        SignedRequest(method="PUT", url=f"{url}/bench/{next(NUMBERS)}{QUERY}", headers=HEADERS, expires_at=expires_at)
        for _ in range(PUTS)
    ]


async def all_sent(wanted: list[SignedRequest], send: Send) -> float:
    """CPU seconds a PUT."""
    await _each(wanted[:WORKERS], send)  # connections
    left = wanted[WORKERS:]
    begun = _cpu_seconds()
    await _each(left, send)
    return (_cpu_seconds() - begun) / len(left)


async def _each(wanted: list[SignedRequest], send: Send) -> None:
    async def work(left: Iterator[SignedRequest]) -> None:
        for request in left:
            status = await send(request)
            if not 200 <= status < 300:
                raise SystemExit(f"the sink answers {status}")

    left = iter(wanted)
    await asyncio.gather(*[work(left) for _ in range(WORKERS)])


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def by_lanes(url: str) -> float:
    async with Lanes() as lanes:

        async def send(request: SignedRequest) -> int:
            return (await lanes.send(request, BODY)).status

        return await all_sent(requests(url), send)


async def by_aiohttp(url: str) -> float:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:

        async def send(request: SignedRequest) -> int:
            async with session.request(
                request.method,
                signed_url(request),
                data=BODY,
                headers=request.headers,
                skip_auto_headers=SKIPPED_HEADERS,
                allow_redirects=False,
            ) as answer:
                return answer.status

        return await all_sent(requests(url), send)


def main() -> None:
    is_check = wants_check("small PUTs: uploader.lanes against aiohttp")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-lanes-", ignore_cleanup_errors=True))
        url = start_nginx(stack, Path(folder), bucket="bench", large_bytes=1, part_bytes=1)
        sides = {"uploader.lanes": lambda: uvloop.run(by_lanes(url)), "aiohttp": lambda: uvloop.run(by_aiohttp(url))}
        ours, theirs = take_turns(sides, turns=TURNS)
    print_table(f"{PUTS:,} PUTs of 4 KiB", [ours, theirs], unit="µs of CPU a PUT", scale=1e6)
    print_conditions("aiohttp", "httptools", "uvloop", peer="nginx on loopback, no TLS")
    report_at_most("lanes-cpu", ratio=ours.median / theirs.median, bar=BAR, is_check=is_check)


if __name__ == "__main__":
    main()
