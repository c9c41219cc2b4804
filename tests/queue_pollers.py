"""`upload-broker poll` as a process: beside a running stack, asking a queue of moto's."""

import json
from collections.abc import Mapping
from dataclasses import replace

from broker.dev.children import Child
from broker.dev.stack import Stack
from broker.domain.principals import hash_of, new_key_text
from tests.moto_peer import ACCESS_KEY, REGION, SECRET_KEY, MotoPeer

OBSERVER = new_key_text("observer")


def poller_beside(
    stack: Stack, moto: MotoPeer, queue_url: object, *, name: str = "poller", **settings: object
) -> Child:
    """Not yet started. Its source is called "queue"; the rest is the stack's configuration, and none of its secrets.

    :param settings: more of `[sources.queue]`, for instance `receivers=2, visibility="4s"`.
    """
    source = {
        "kind": "sqs",
        "queue_url": queue_url,
        "region": REGION,
        "endpoint": moto.url,
        "destinations": ["default"],
        "credentials": {"access_key_id": ACCESS_KEY, "secret_access_key": {"env": "QUEUE_SECRET"}},
        **settings,
    }
    observer = {"hash": hash_of(OBSERVER), "roles": ["observe"]}
    env = {
        **{name: value for name, value in stack.broker.env.items() if not name.startswith("DEV_")},
        "QUEUE_SECRET": SECRET_KEY,
        **_nested("BROKER_SOURCES__QUEUE", source),
        **_nested("BROKER_KEYS__OBSERVER", observer),
    }
    config = str(stack.options.directory / "broker.toml")
    argv = [*stack.broker.argv[:3], "poll", "queue", "--config", config, "--json", "--health-port", "0"]
    return replace(stack.broker, name=name, argv=argv, env=env, process=None)


def _nested(prefix: str, values: Mapping[str, object]) -> dict[str, str]:
    return {
        f"{prefix}__{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }
