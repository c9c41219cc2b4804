"""Emptying a queue: `upload-broker poll` against the loop that people write, 16 threads of boto3 and redis-py.

python bench/poll.py [--check]

SQS is a stand-in on loopback that always has ten more messages and answers from memory, so that neither AWS' time nor
moto's (80 messages for each second of its CPU) is measured; real queues add their round trip, and receivers hide it.
Ours records every hint by the ledger's script, the peer adds the session to one sorted set; both delete what they have
recorded. The figure is messages for each second of CPU of the process that polls: what one core takes.
"""

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import redis as redis_py

from bench._broker import (
    ACCESS_KEY,
    BUCKET,
    REGION,
    SECRET_KEY,
    cpu_seconds,
    environment,
    process_of,
    require_tools,
    start_ledger,
)
from bench._harness import print_conditions, print_table, report, take_turns, wants_check
from broker.dev.children import Child
from broker.domain.keys import new_session_id

BAR = 0.8  # botocore is most of either side: no dearer than that loop, within what turns differ
TURNS = 5
SECONDS = 3.0
BATCH, BATCHES = 10, 500
THREADS = 16
RECEIVERS = 16


class Queue:
    """Never empty. It knows how many messages were deleted."""

    def __init__(self) -> None:
        made = [_batch() for _ in range(BATCHES)]
        self._batches, self.deleted = itertools.cycle(made), 0

    def answer(self, headers: bytes) -> bytes:
        if b"receivemessage" in headers:
            return next(self._batches)
        if b"deletemessagebatch" in headers:
            self.deleted += BATCH
            return b'{"Successful": [], "Failed": []}'
        return b"%d" % self.deleted


class StandIn(asyncio.Protocol):
    """SQS as far as the two loops use it, on one connection."""

    def __init__(self, queue: Queue) -> None:
        self._queue, self._had = queue, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._had += data
        while (head := self._had.find(b"\r\n\r\n")) >= 0:
            headers = self._had[:head].lower()
            length = int(headers.partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            if len(self._had) < head + 4 + length:
                return
            self._had = self._had[head + 4 + length :]
            body = self._queue.answer(headers)
            answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: %d\r\n\r\n"
            self._transport.write(answer % len(body) + body)  # type: ignore[attr-defined]


def _batch() -> bytes:
    attributes = {"SentTimestamp": str(int(time.time() * 1_000)), "ApproximateReceiveCount": "1"}
    return json.dumps(
        {
            "Messages": [
                {"MessageId": f"m{n}", "ReceiptHandle": "r" * 180 + str(n), "Body": _event(), "Attributes": attributes}
                for n in range(BATCH)
            ]
        }
    ).encode()


def _event() -> str:
    key = f"uploads/{new_session_id(0)}/scan.tif"
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": "2026-11-21T00:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": BUCKET, "arn": f"arn:aws:s3:::{BUCKET}"},
            "object": {"key": key, "size": 1024, "eTag": "d41d8cd98f00b204e9800998ecf8427e"},
        },
    }
    return json.dumps({"Records": [record]})


async def serve() -> None:
    queue = Queue()
    server = await asyncio.get_running_loop().create_server(lambda: StandIn(queue), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def peer(endpoint: str, redis_url: str) -> None:
    """What people write: each thread receives, notes and deletes."""
    from threading import Thread  # noqa: PLC0415

    import boto3  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    config = Config(max_pool_connections=THREADS)
    sqs = boto3.client(
        "sqs", region_name=REGION, endpoint_url=endpoint, aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY, config=config,
    )  # fmt: skip
    ledger = redis_py.Redis.from_url(redis_url)
    queue = f"{endpoint}/1/uploads"

    def work() -> None:
        while True:
            told = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=20)["Messages"]
            for message in told:
                for record in json.loads(message["Body"])["Records"]:
                    session_id = record["s3"]["object"]["key"].split("/")[1]
                    ledger.zadd("due", {session_id: time.time()}, lt=True)
            entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(told)]
            sqs.delete_message_batch(QueueUrl=queue, Entries=entries)

    for _ in range(THREADS):
        Thread(target=work, daemon=True).start()
    print('{"peer": "ready"}', flush=True)
    time.sleep(3_600)


def ours(directory: Path, endpoint: str, redis_url: str) -> Child:
    """`poll` as anybody starts it."""
    config = directory / "poll.toml"
    config.write_text(f"""\
[ledger]
url = "{redis_url}"

[destinations.default]
dialect = "aws"
bucket = "{BUCKET}"
region = "{REGION}"

[sources.queue]
kind = "sqs"
queue_url = "{endpoint}/1/uploads"
endpoint = "{endpoint}"
region = "{REGION}"
receivers = {RECEIVERS}
destinations = ["default"]
credentials = {{access_key_id = "{ACCESS_KEY}", secret_access_key = {{env = "QUEUE_SECRET"}}}}
""")
    argv = [sys.executable, "-m", "broker", "poll", "--config", str(config), "--json"]
    return Child(name="poll", argv=argv, env=environment(QUEUE_SECRET=SECRET_KEY), directory=directory)


def theirs(directory: Path, endpoint: str, redis_url: str) -> Child:
    argv = [sys.executable, str(Path(__file__).resolve()), "--peer", endpoint, redis_url]
    return Child(name="peer", argv=argv, env=environment(), directory=directory)


@contextmanager
def stand_in(directory: Path) -> Iterator[str]:
    argv = [sys.executable, str(Path(__file__).resolve()), "--stand-in"]
    with subprocess.Popen(argv, env=environment(), stdout=subprocess.PIPE, cwd=directory) as process:
        assert process.stdout is not None  # noqa: S101 - for the type checker
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def rate(child: Child, endpoint: str) -> float:
    """Messages deleted for each second of its CPU, once it is warm."""
    child.start()
    try:
        process = process_of(child)
        time.sleep(1)
        began, cpu = deleted(endpoint), cpu_seconds(process)
        time.sleep(SECONDS)
        return (deleted(endpoint) - began) / (cpu_seconds(process) - cpu)
    finally:
        child.kill()


def deleted(endpoint: str) -> int:
    with urlopen(endpoint, timeout=10) as answer:  # noqa: S310 - our own
        return int(answer.read())


def main() -> None:
    is_check = wants_check(__doc__ or "")
    require_tools("bench/poll.py")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-poll-")))
        (directory / "redis").mkdir()
        ledger = start_ledger(stack, directory / "redis")
        os.sched_setaffinity(0, range(os.cpu_count() or 2))
        endpoint = stack.enter_context(stand_in(directory))
        sides = {
            f"upload-broker poll, {RECEIVERS} receivers": lambda: rate(ours(directory, endpoint, ledger.url), endpoint),
            f"boto3 and redis-py, {THREADS} threads": lambda: rate(theirs(directory, endpoint, ledger.url), endpoint),
        }
        mine, other = take_turns(sides, turns=TURNS)
    print_table("received, recorded, deleted", [mine, other], unit="messages for each second of CPU")
    print_conditions("boto3", "redis", durability="appendfsync everysec")
    report("poll", ratio=mine.median / other.median, bar=BAR, is_check=is_check)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stand-in"]:
        asyncio.run(serve())
    elif sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:4])
    else:
        main()
