"""Each thing that a signed PUT permits, and a neighbour of it that must be refused and store nothing."""

import base64
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from broker.checks.bench import Bench, spec_of
from broker.checks.crc import crc32c, crc64nvme
from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.steps import Step
from broker.checks.stranger import Reply, Sent
from broker.checks.troubles import explained
from broker.checks.upload_steps import HEAD, PUT
from broker.contract import Checksum, Level
from broker.storage.s3.dialects import CHECKSUM_HEADERS

Tampered = Callable[[Bench, str], Awaitable[Sent]]

_NO_SIGNATURES = (
    "this store does not hold clients to what was signed: whoever has a URL may upload something else; "
    "do not let it receive uploads"
)
_OVERWRITES = (
    'the store ignores If-None-Match: say dialect = "generic", and policy.require = ["size", "content_type"] if you '
    "can live with a replayed URL that overwrites"
)


async def longer(bench: Bench, key: str) -> Sent:
    return Sent.of(await bench.sign(key), bench.body + b"0")


async def other_type(bench: Bench, key: str) -> Sent:
    return Sent.of(await bench.sign(key), bench.body).with_headers({"content-type": "text/html"})


async def other_key(bench: Bench, key: str) -> Sent:
    """Signed for the neighbour of `key`, sent to `key`."""
    signed_for = f"{key}-signed"
    sent = Sent.of(await bench.sign(signed_for), bench.body)
    path = bench.site.public.path
    return replace(sent, url=sent.url.replace(path(signed_for), path(key), 1))


async def other_capsule(bench: Bench, key: str) -> Sent:
    return Sent.of(await bench.sign(key), bench.body).with_headers({"x-amz-meta-upload-session": "forged"})


async def no_condition(bench: Bench, key: str) -> Sent:
    sent = Sent.of(await bench.sign(key), bench.body)
    return replace(sent, headers={name: value for name, value in sent.headers.items() if name != "if-none-match"})


async def expired(bench: Bench, key: str) -> Sent:
    now = bench.clock.now() - timedelta(minutes=10)
    ends = now + timedelta(minutes=5)
    request = await bench.site.bucket.put.sign_put(key, spec_of(bench.body), "check", now=now, ends=ends)
    return Sent.of(request, bench.body)


async def unsigned(bench: Bench, key: str) -> Sent:
    sent = Sent.of(await bench.sign(key), bench.body)
    return replace(sent, url=sent.url.partition("?")[0])


async def refused(bench: Bench, name: str, change: Tampered) -> Finding:
    key = bench.leftovers.note(bench.key(name))
    reply = await bench.stranger.send(await change(bench, key))
    return await _verdict(bench, key, reply, fix=_NO_SIGNATURES)


async def overwrite(bench: Bench) -> Finding:
    """A second PUT under a key that is taken, freshly signed."""
    reply = await bench.put(bench.key("object"))
    promised = bench.site.dialect.create_only is Level.ENFORCED
    if reply.is_refusal:
        return passed(reply.said) if promised else passed(f"{reply.said}; the dialect does not even promise it")
    if not reply.is_ok:
        return explained(bench.site, PUT, reply.status, reply.code)
    if promised:
        return failed(f"{reply.said}: the object was overwritten", _OVERWRITES)
    return skipped(f"{reply.said}: overwritten; the dialect promises nothing else")


async def checksum(bench: Bench, algorithm: str) -> Finding:
    """A declared digest: other bytes of the same length are refused, those that it is of are stored."""
    if algorithm not in bench.site.dialect.verifies:
        return skipped("the dialect does not promise that the store computes it")
    key = bench.leftovers.note(bench.key(f"checksum-{algorithm}"))
    request = await bench.sign(key, Checksum(**{algorithm: _digest(algorithm, bench.body)}))
    name = CHECKSUM_HEADERS[algorithm]
    fix = f'the store ignores {name}: name its own dialect, or dialect = "generic"; the consumer proves it then'
    refusal = await _verdict(bench, key, await bench.stranger.send(Sent.of(request, bench.body[::-1])), fix=fix)
    if refusal.fix is not None:
        return refusal
    honest = await bench.stranger.send(Sent.of(request, bench.body))
    if honest.is_ok:
        return passed(f"{refusal.said} for other bytes, {honest.said} for its own")
    return failed(f"{honest.said} for the very bytes that it is of", fix)


async def _verdict(bench: Bench, key: str, reply: Reply, *, fix: str) -> Finding:
    if reply.is_ok:
        return failed(f"{reply.said}: NOT refused, it was stored", fix)
    if not reply.is_refusal:
        return failed(f"{reply.said} proves nothing", "see the store's own log for this answer, then try again")
    if await bench.head(key) is not None:
        return failed(f"{reply.said}, and stored all the same", fix)
    return passed(reply.said)


def _digest(algorithm: str, body: bytes) -> str:
    raw = {
        "sha256": lambda: hashlib.sha256(body).digest(),
        "md5": lambda: hashlib.md5(body, usedforsecurity=False).digest(),
        "crc32c": lambda: crc32c(body),
        "crc64nvme": lambda: crc64nvme(body),
    }[algorithm]()
    return base64.b64encode(raw).decode()


def _step(code: str, tried: str, change: Tampered) -> Step:
    return Step(
        code=code, tried=f"{tried} is refused", attempt=partial(refused, name=code, change=change), after=("head",),
        need=HEAD,
    )  # fmt: skip


STEPS = (
    _step("tamper-length", "a byte more than signed", longer),
    _step("tamper-type", "another content type", other_type),
    _step("tamper-key", "another key", other_key),
    _step("tamper-metadata", "another session's capsule", other_capsule),
    _step("tamper-condition", "a PUT without its if-none-match", no_condition),
    _step("tamper-expired", "a PUT whose time is over", expired),
    _step("tamper-unsigned", "a PUT without a signature", unsigned),
    Step(code="create-only", tried="a second PUT to the same key is refused", attempt=overwrite, after=("head",),
         need=PUT),
    *(
        Step(code=f"checksum-{algorithm}", tried=f"other bytes than the declared {algorithm}'s are refused",
             attempt=partial(checksum, algorithm=algorithm), after=("head",), need=HEAD)
        for algorithm in CHECKSUM_HEADERS
    ),
)  # fmt: skip
