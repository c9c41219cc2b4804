"""A store that keeps its promises but for one lie, which the test names: for what no emulator and no server does."""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

from broker.checks.bench import CAPSULE, Bench, spec_of
from broker.checks.findings import Finding
from broker.checks.s3.site import S3Site
from broker.checks.s3.table import STEPS
from broker.checks.stranger import Reply, Sent, Stranger
from broker.contract import Guarantees, Level, SignedRequest
from broker.domain.multipart import StoredPart
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, Pin, UploadSpec
from broker.domain.policy import Destination
from broker.ports import Bucket, MultipartRights
from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.endpoint import Endpoint
from tests.clock import FrozenClock

NOW = FrozenClock().now()
OK = {"date": f"{NOW:%a, %d %b %Y %H:%M:%S} GMT"}


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Reply:
    return Reply(status=status, headers={**OK, **headers}, body=body)


def stored(body: bytes, **changes: Any) -> ObjectInfo:
    spec = spec_of(body)
    given = {
        "size_bytes": spec.size_bytes,
        "content_type": spec.content_type,
        "etag": "e" * 32,
        "metadata": {CAPSULE_FIELD: CAPSULE},
    }
    return ObjectInfo(**(given | changes))


class Ports:
    """Every port of a bucket, answering what the test says."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def _answer(self, name: str, honest: Any) -> Any:
        found = self.answers.get(name, honest)
        return found() if callable(found) else found

    def binds(self, spec: UploadSpec) -> Guarantees:  # noqa: ARG002
        return Guarantees(size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.NONE, checksum=Level.NONE)

    async def sign_put(self, key: str, *_: Any, now: datetime, ends: datetime) -> SignedRequest:  # noqa: ARG002
        return SignedRequest(method="PUT", url=f"https://s/{key}?sig", headers={"if-none-match": "*"}, expires_at=ends)

    async def sign_get(self, key: str, pin: Pin | None, *, filename: str, now: datetime, ends: datetime) -> Any:  # noqa: ARG002
        return SignedRequest(method="GET", url=f"https://s/{key}?sig", headers={}, expires_at=ends)

    async def sign_part(self, key: str, *_: Any, now: datetime, ends: datetime) -> SignedRequest:  # noqa: ARG002
        return SignedRequest(method="PUT", url=f"https://s/{key}?part", headers={}, expires_at=ends)

    async def head(self, key: str) -> ObjectInfo | None:
        found = self.answers.get("head")
        result: ObjectInfo | None = found(key) if callable(found) else found
        return result

    async def remove(self, key: str, pin: Pin) -> bool:
        remove: Callable[[str, Pin], bool] = self.answers.get("remove", lambda _, pin: pin.etag == "e" * 32)
        return remove(key, pin)

    async def open(self, *_: Any) -> str:
        return "upload"

    async def parts(self, *_: Any) -> list[StoredPart] | None:
        found: list[StoredPart] | None = self._answer("parts", [StoredPart(number=1, size_bytes=1024, etag="p")])
        return found

    async def complete(self, *_: Any) -> bool:
        return bool(self._answer("complete", True))

    async def open_uploads(self, key: str) -> list[str]:  # noqa: ARG002
        return list(self._answer("open_uploads", ["upload"]))

    async def abort(self, *_: Any) -> bool:
        return bool(self._answer("abort", True))

    async def objects(self) -> AsyncIterator[Sequence[Any]]:
        yield ()

    uploads = objects


class Told:
    """A stranger to whom the store answers what the test says."""

    def __init__(self, answer: Reply | Callable[[Sent], Reply]) -> None:
        self.answer = answer

    async def send(self, sent: Sent) -> Reply:
        return self.answer(sent) if callable(self.answer) else self.answer


class Calls:
    """The broker's own raw calls."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.endpoint = SimpleNamespace(host="s")

    async def call(self, method: str, key: str, *_: Any, query: Sequence[tuple[str, str]] = (), **__: Any) -> Any:  # noqa: ARG002
        name = query[0][0] if query else method
        status, body = self.answers.get(name, (200, b""))
        return SimpleNamespace(status=status, headers={}, body=body)


def bench(
    *,
    dialect: DialectName = "aws",
    answer: Reply | Callable[[Sent], Reply] | None = None,
    calls: dict[str, Any] | None = None,
    **answers: Any,
) -> Bench:
    ports = cast("Any", Ports(**answers))
    multipart = MultipartRights(signer=ports, uploads=ports, remover=ports)
    bucket = Bucket(
        destination=Destination(name="eu", bucket="acme", prefix="uploads"),
        put=ports, get=ports, objects=ports, remover=ports, multipart=multipart, lister=ports,
    )  # fmt: skip
    endpoint = Endpoint(origin="https://s", host="s", base_path="/acme")
    nobody = SimpleNamespace(current=_credential)
    site = S3Site(
        bucket=bucket,
        dialect_name=dialect,
        dialect=DIALECTS[dialect],
        public=endpoint,
        consumer=endpoint,
        caller=cast("Any", Calls(**(calls or {}))),
        credentials=cast("Any", {"write": nobody, "read": nobody, "remove": nobody}),
        region="eu-west-1",
        origins=("https://app.example",),
    )
    made = Bench(site=site, stranger=cast("Stranger", Told(answer or reply(403))), clock=FrozenClock(), events="none")
    made.stored, made.upload_id = stored(made.body), "upload"
    return made


async def _credential(now: datetime) -> str:  # noqa: ARG001
    return "one for all"


async def attempt(code: str, bench: Bench) -> Finding:
    (step,) = [each for each in STEPS if each.code == code]
    return await step.attempt(bench)
