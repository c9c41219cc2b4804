"""`upload-broker dev`: the stack until somebody says stop, with lines to paste."""

import signal
import sys
import threading
from pathlib import Path

import msgspec

from broker.dev.stack import Announcement, Stack, StackOptions, start_stack

LINES = """\
upload-broker dev is ready (Ctrl-C ends everything; data in {directory})

  broker   {broker}
  store    {store}   bucket {bucket}
  redis    {redis}
{more}
Paste this:

  export BROKER_URL={broker} BROKER_API_KEY={api_key}
  {uploader} put README.md --wait processed

or, with nothing but curl (put.curl becomes the signed request, header for header):

  curl -sS $BROKER_URL/upload-sessions -H "Authorization: Bearer $BROKER_API_KEY" \\
    --json '{{"filename": "hello.txt", "size_bytes": 5}}' -o session.json
  python3 -c 'import json; r = json.load(open("session.json"))["upload"]["request"]
  print("url =", json.dumps(r["url"]), *("\\nheader = " + json.dumps(": ".join(h)) for h in r["headers"].items()))' > put.curl
  printf hello | curl -sS -X PUT -K put.curl --data-binary @-
  curl -sS $BROKER_URL/upload-sessions/$(grep -o '"id":"[^"]*' session.json | cut -c7-) \\
    -H "Authorization: Bearer $BROKER_API_KEY"
"""  # noqa: E501 - lines to paste


def run_dev(options: StackOptions, *, as_json: bool) -> None:
    """:raises ConfigurationInvalid: a part did not start."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    stack = start_stack(options)
    try:
        sys.stdout.write(_said(stack.about, options, as_json=as_json))
        sys.stdout.flush()
        _watch(stack, stopped)
    finally:
        stack.stop()


def _said(about: Announcement, options: StackOptions, *, as_json: bool) -> str:
    if as_json:
        return msgspec.json.encode(about).decode() + "\n"
    uploader = Path(sys.executable).parent / "uploader"
    shown = uploader.relative_to(Path.cwd()) if uploader.is_relative_to(Path.cwd()) else uploader
    told = msgspec.structs.asdict(about)
    more = "".join(f"  {name:<8} {told[name]}\n" for name in ("iam", "pubsub") if told[name] is not msgspec.UNSET)
    return LINES.format(directory=options.directory, uploader=shown, more=more, **told)


def _watch(stack: Stack, stopped: threading.Event) -> None:
    """Until stopped, or until a part ended by itself: then there is nothing to stay for."""
    while not stopped.wait(0.5):
        for child in (*stack.others, stack.store, stack.broker, *stack.consumers):
            if not child.is_alive:
                sys.stderr.write(f"upload-broker dev: {child.name} ended; its last words:\n{child.last_words()}\n")
                return
