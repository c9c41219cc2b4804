"""`upload-broker poll` as a process: beside a running stack, asking a queue of moto's."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from broker.dev.children import Child
from broker.dev.stack import Stack
from broker.domain.principals import hash_of, new_key_text
from tests.moto_peer import ACCESS_KEY, REGION, SECRET_KEY, MotoPeer

OBSERVER = new_key_text("observer")


def poller_beside(
    stack: Stack, moto: MotoPeer, queue_url: object, *more: object, name: str = "poller", **settings: object
) -> Child:
    """Not yet started. Its sources are "queue", "queue1" …; the rest is the stack's configuration, without its secrets.

    :param settings: more of each `[sources.queue]`, for instance `receivers=2, visibility="4s"`.
    """
    source = {
        "kind": "sqs",
        "region": REGION,
        "endpoint": moto.url,
        "destinations": ["default"],
        "credentials": {"access_key_id": ACCESS_KEY, "secret_access_key": {"env": "QUEUE_SECRET"}},
    }
    urls = {"queue": queue_url, **{f"queue{number}": url for number, url in enumerate(more, 1)}}
    sources = {each: source | {"queue_url": url} | settings for each, url in urls.items()}
    observer = {"hash": hash_of(OBSERVER), "roles": ["observe"]}
    env = {
        **{name: value for name, value in stack.broker.env.items() if not name.startswith("DEV_")},
        "QUEUE_SECRET": SECRET_KEY,
        **{name: text for each in sources for name, text in _nested(f"BROKER_SOURCES__{each.upper()}", sources[each])},
        **dict(_nested("BROKER_KEYS__OBSERVER", observer)),
    }
    config = str(stack.options.directory / "broker.toml")
    argv = [*stack.broker.argv[:3], "poll", *sources, "--config", config, "--json", "--health-port", "0"]
    return replace(stack.broker, name=name, argv=argv, env=env, process=None)


def _nested(prefix: str, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        yield f"{prefix}__{name.upper()}", value if isinstance(value, str) else json.dumps(value)
