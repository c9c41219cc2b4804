"""schemathesis calls every operation of our own OpenAPI with what its schemas permit, and with what they forbid.

Nothing here names a route: a new one is called as soon as it stands in the document. What no schema can generate – a
live id, a lease, who calls – replaces a generated value only where that value was a valid one, so that a request which
was meant to be wrong stays wrong. `SCHEMATHESIS_SEED=7 pytest tests/api/test_api_schemathesis.py` plays another game.
"""

import asyncio
import copy
import json
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from broker.api.openapi import openapi_document
from broker.domain.keys import is_session_id
from broker.domain.policy import Policy
from tests.api.world import DOOR_TOKEN, bearer, build, event
from tests.clock import FrozenClock

SEED = int(os.environ.get("SCHEMATHESIS_SEED", "20261120"))
EXAMPLES = 50  # of each operation and mode: some 12 s in all
REFUSALS = ["400", "401", "403", "404", "409", "413", "415", "422"]
CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
    checks.negative_data_rejection,
]

DOCUMENT: dict[str, Any] = json.loads(openapi_document())
SECURED = set()
for methods in DOCUMENT["paths"].values():
    for operation in methods.values():
        if operation.pop("security"):  # who calls is chosen here, not made up from a scheme
            SECURED.add(operation["operationId"])
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSALS}}})
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
OPERATIONS = {found.ok().definition.raw["operationId"]: found.ok() for found in SCHEMA.get_all_operations()}

ABLE = ("root", "root", "door", "token")  # to do all, or all of one thing
ANY_ID = f"00{'a' * 26}"
CALLERS = ("root", "root", "app", "worker", "neighbour", "small", "token", "door", "garbage", "none")
STRANGERS = {"door", "garbage", "none"}


class Game:
    """A world, and a session in a state of the player's choice for each call."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self._run = runner.run
        self.clock = FrozenClock()
        self.world = build(self.clock)
        self.statuses: Counter[int] = Counter()

    def play(self, case: Case, who: str, state: str, is_filled: bool) -> None:
        self._run(self._play(case, who, state, is_filled))

    def close(self) -> None:
        self._run(self.world.client.aclose())

    async def _play(self, case: Case, who: str, state: str, is_filled: bool) -> None:
        session, lease = await self._seed(state)
        _aim(case, session, lease)
        if is_filled:
            _fill(case, session)
        case.headers.pop("Authorization", None)
        case.headers.update(self._credentials(who, session))
        answer = await self._send(case)
        if "/" in "".join(map(str, case.path_parameters.values())).replace("%2F", "/"):
            assert answer.status_code < 500  # another path, so another operation or none
            return
        told = case.operation.definition.raw
        about = f"{who}, {state}: {answer.status_code} {answer.text}\n{case.as_curl_command()}"
        assert str(answer.status_code) in told["responses"], about
        assert told["operationId"] not in SECURED or who not in STRANGERS or answer.status_code == 401, about
        case.validate_response(answer, checks=CHECKS)
        self.statuses[answer.status_code] += 1

    async def _send(self, case: Case) -> httpx.Response:
        made = requests.Request(**case.as_transport_kwargs(base_url="http://broker.localhost")).prepare()
        headers = [(_bytes(name), _bytes(value)) for name, value in made.headers.items()]
        request = httpx.Request(str(made.method), str(made.url), headers=headers, content=_bytes(made.body))
        async with asyncio.timeout(10):
            return await self.world.client.send(request)

    def _credentials(self, who: str, session: dict[str, Any]) -> dict[str, str]:
        known = {"token": session["token"], "door": DOOR_TOKEN, "garbage": "ub_app_\x80é~"}
        if who == "none":
            return {}
        return bearer(known[who]) if who in known else self.world.as_(who)

    async def _seed(self, state: str) -> tuple[dict[str, Any], dict[str, Any]]:
        session = await self.world.mint(**(PARTS if state.endswith("parts") else {}))
        await STATES[state](self, session)
        if state not in LEASED:
            now = self.world.clock.now()
            return session, {"token": self.world.use_cases.tokens.for_lease(session["id"], 1, now), "epoch": 1}
        answer = await self.world.client.post("/jobs/lease", json={"max": 100}, headers=self.world.as_("worker"))
        lease = next(job["lease"] for job in answer.json()["jobs"] if job["id"] == session["id"])
        if state != "processing":
            report = {"lease": lease["token"], "epoch": lease["epoch"], "outcome": state, "result": {"rows": 3}}
            path = f"/jobs/{session['id']}/result"
            done = await self.world.client.post(path, json=report, headers=self.world.as_("worker"))
            assert done.status_code == 200, done.text
        return session, lease

    async def stay(self, session: dict[str, Any]) -> None:
        """A session that was just minted."""

    async def abort(self, session: dict[str, Any]) -> None:
        await self.world.client.delete(f"/upload-sessions/{session['id']}", headers=self.world.as_("app"))

    async def verify(self, session: dict[str, Any]) -> None:
        self.world.upload(session)
        await self._complete(session)

    async def reject(self, session: dict[str, Any]) -> None:
        self.world.upload(session)
        self.world.bucket.tamper(session["object"]["key"], size_bytes=13)
        await self._complete(session)

    async def expire(self, session: dict[str, Any]) -> None:
        self.clock.advance(Policy().deadline + timedelta(hours=1))
        await self._complete(session)

    async def _complete(self, session: dict[str, Any]) -> None:
        path = f"/upload-sessions/{session['id']}/completion"
        answer = await self.world.client.post(path, headers=self.world.as_("app"))
        assert answer.json()["state"] != "pending", answer.text


PARTS = {"strategy": "multipart", "size_bytes": 100_000_000}
LEASED = {"processing", "processed", "failed"}
STATES: dict[str, Callable[[Game, dict[str, Any]], Awaitable[None]]] = {
    **dict.fromkeys(("pending", "pending in parts"), Game.stay),
    **dict.fromkeys(("aborted", "aborted in parts"), Game.abort),
    **dict.fromkeys(("verified", *sorted(LEASED)), Game.verify),
    "rejected": Game.reject,
    "expired": Game.expire,
}


def _aim(case: Case, session: dict[str, Any], lease: dict[str, Any]) -> None:
    """At what exists, and without waiting for what does not."""
    for name, value in case.path_parameters.items():
        if is_session_id(str(value)):
            case.path_parameters[name] = session["id"]
    if not isinstance(case.body, dict):
        return
    for name, value in {"lease": lease["token"], "epoch": lease["epoch"]}.items():
        if name in case.body and type(case.body[name]) is type(value):
            case.body[name] = value
    waits = case.body.get("wait_seconds")
    if isinstance(waits, int | float) and not isinstance(waits, bool) and 0 <= waits <= 30:
        case.body["wait_seconds"] = 0


def _fill(case: Case, session: dict[str, Any]) -> None:
    """What is free text to the schema and a name to the broker; of a request that is right as it is."""
    if "source" in case.path_parameters:
        case.path_parameters["source"] = "bucket"
        case.body, case.media_type = event(session), "application/json"
    elif isinstance(case.body, dict):
        known = {"content_type": "text/csv", "destination": "default", "numbers": [1], "size_bytes": 12, "checksum": {}}
        case.body.update({name: value for name, value in known.items() if name in case.body})
        case.body.pop("object_metadata", None)


def _bytes(text: Any) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text or b""


@pytest.fixture
def game() -> Iterator[Game]:
    with asyncio.Runner() as runner:
        game = Game(runner)
        yield game
        game.close()


def _can_be_wrong(operation: Any) -> bool:
    """Whether a schema of its request forbids anything that can be sent."""
    told = operation.definition.raw
    bodies = [media["schema"] for media in told.get("requestBody", {}).get("content", {}).values()]
    schemas = bodies + [parameter["schema"] for parameter in told["parameters"] if "schema" in parameter]
    return any({"$ref", "pattern", "enum"} & set(schema) for schema in schemas)


CASES = [
    pytest.param(name, mode, id=f"{name}-{mode}")
    for name, operation in sorted(OPERATIONS.items())
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or _can_be_wrong(operation)
]


@pytest.mark.parametrize(("operation_id", "mode"), CASES)
def test_every_operation_keeps_to_the_document(game: Game, operation_id: str, mode: GenerationMode) -> None:
    print(f"SCHEMATHESIS_SEED={SEED}")
    cases = OPERATIONS[operation_id].as_strategy(generation_mode=mode)
    states = st.sampled_from(("processing", "pending in parts", "verified")) | st.sampled_from(list(STATES))
    filled = st.booleans() if mode is GenerationMode.POSITIVE else st.just(False)

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, is_filled=filled, state=states, data=st.data())
    def play(case: Case, is_filled: bool, state: str, data: st.DataObject) -> None:
        who = data.draw(st.sampled_from(ABLE if is_filled else CALLERS))
        game.play(case, who, state, is_filled)

    play()
    print(dict(game.statuses))


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS))
def test_every_operation_accepts_its_own_example_in_some_state(game: Game, operation_id: str) -> None:
    operation = OPERATIONS[operation_id]
    content = operation.definition.raw.get("requestBody", {}).get("content", {}).get("application/json")
    carried = {"body": content["example"], "media_type": "application/json"} if content else {}
    for state in STATES:
        names = [parameter.name for parameter in operation.path_parameters]
        case = operation.Case(path_parameters=dict.fromkeys(names, ANY_ID), **copy.deepcopy(carried))
        game.play(case, "root" if operation_id in SECURED else "door", state, is_filled=True)
    assert min(game.statuses) < 300
