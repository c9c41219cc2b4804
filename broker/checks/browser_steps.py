"""Pages of the configured origins: the preflight that a browser sends before a signed PUT, and what it may read after.

Obeys "CORS protocol" of the Fetch standard, in which the answer to the preflight must name origin, method and each
header that a page sets.
"""

from broker.checks.bench import Bench
from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.needs import Need
from broker.checks.site import Site
from broker.checks.steps import Step
from broker.checks.stranger import Reply, Sent
from broker.contract import SignedRequest

_ANY_ORIGIN = "https://any-origin.example"  # what stands for everybody where "*" is configured


async def preflight(bench: Bench[Site]) -> Finding:
    origins = _origins(bench)
    if not origins:
        return skipped("cors.allow_origins is empty: no page uploads")
    request = await bench.sign(bench.key("page"))
    for origin in origins:
        lacking = _lacking(await bench.stranger.send(_options(request, origin)), origin, request)
        if lacking:
            return failed(f"{origin}: {lacking}", _fix(bench))
    return passed(", ".join(origins))


async def exposed(bench: Bench[Site]) -> Finding:
    """A page that cannot read the ETag of a part cannot tell it from a lost one."""
    origins = _origins(bench)
    if not origins:
        return skipped("cors.allow_origins is empty: no page uploads")
    key = bench.leftovers.note(bench.key("page"))
    sent = Sent.of(await bench.sign(key), bench.body).with_headers({"origin": origins[0]})
    reply = await bench.stranger.send(sent)
    if not reply.is_ok or not _names_origin(reply, origins[0]):
        return failed(f"{reply.said}: the page may not read this answer", _fix(bench))
    if "etag" not in _listed(reply, "access-control-expose-headers"):
        return failed("ETag is not among Access-Control-Expose-Headers", _fix(bench))
    return passed("ETag")


def _origins(bench: Bench[Site]) -> list[str]:
    return [_ANY_ORIGIN if origin == "*" else origin for origin in bench.site.origins]


def _options(request: SignedRequest, origin: str) -> Sent:
    headers = {
        "origin": origin,
        "access-control-request-method": request.method,
        "access-control-request-headers": ",".join(sorted(request.headers)),
    }
    return Sent(method="OPTIONS", url=request.url, headers=headers)


def _lacking(reply: Reply, origin: str, request: SignedRequest) -> str:
    """What a browser would refuse to go on for; empty when it would."""
    if not reply.is_ok:
        return f"the preflight is answered {reply.said}"
    if not _names_origin(reply, origin):
        return "the answer does not name the origin"
    if request.method.lower() not in _listed(reply, "access-control-allow-methods"):
        return f"{request.method} is not allowed"
    allowed = _listed(reply, "access-control-allow-headers")
    missing = [name for name in sorted(request.headers) if name not in allowed and "*" not in allowed]
    return f"not allowed: {', '.join(missing)}" if missing else ""


def _names_origin(reply: Reply, origin: str) -> bool:
    return reply.headers.get("access-control-allow-origin") in {"*", origin}


def _listed(reply: Reply, name: str) -> set[str]:
    return {each.strip().lower() for each in reply.headers.get(name, "").split(",")}


def _fix(bench: Bench[Site]) -> str:
    return f"put the CORS rules on the bucket that `{bench.site.setup}` prints"


def steps(site_put: Need) -> tuple[Step, ...]:
    return (
        Step(code="cors-preflight", tried="pages of cors.allow_origins may send what we sign", attempt=preflight,
             need=site_put),
        Step(code="cors-exposed", tried="and may read the ETag of the answer", attempt=exposed,
             after=("cors-preflight", "head"), need=site_put),
    )  # fmt: skip
