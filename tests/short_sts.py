"""An STS on loopback whose sessions live as short as one likes; `python -m tests.short_sts --life 10` runs it alone.

It knows nobody and refuses nothing. A real one gives 15 minutes at least, which is too long to watch a rotation.
"""

import argparse
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

_ANSWER = """<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>secret-{number}</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{ends:%Y-%m-%dT%H:%M:%S.%f}Z</Expiration>
</Credentials></{action}Result></{action}Response>"""
_TOKEN = "t" * 1_000  # opaque; those of AWS are about as long


class ShortSts:
    """`asked`: how often each role was asked for; `most_at_once`: requests at the same time."""

    def __init__(self, life: timedelta, delay: timedelta) -> None:
        self.life, self.delay = life, delay
        self.asked: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self._numbers = itertools.count(1)
        self._counting = threading.Lock()

    def answer(self, form: dict[str, list[str]]) -> bytes:
        with self._counting:
            number = next(self._numbers)
            self.asked[form["RoleArn"][0]] += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.delay.total_seconds())  # this is what it is made for: a source that takes its time
        with self._counting:
            self.at_once -= 1
        ends = datetime.now(UTC) + self.life
        return _ANSWER.format(action=form["Action"][0], number=number, token=_TOKEN, ends=ends).encode()


@contextmanager
def running_sts(life: timedelta, delay: timedelta = timedelta()) -> Iterator[tuple[str, ShortSts]]:
    """Its address, and itself."""
    sts = ShortSts(life, delay)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay open, as those to AWS
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            body = sts.answer(form)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.request_queue_size = 64
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", sts
    finally:
        server.shutdown()
        serving.join(5)
        server.server_close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--life", type=float, required=True, help="of a session, in seconds")
    life = timedelta(seconds=parser.parse_args().life)
    with running_sts(life) as (url, _):
        print(f'{{"sts": "{url}"}}', flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
