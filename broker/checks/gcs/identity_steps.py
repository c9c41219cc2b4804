"""Who we are: the broker's own identity, what it may do with the three service accounts, and that it may nothing else.

Asks `serviceAccounts.testIamPermissions` (IAM) as the broker's own identity. Of a chain of delegates only the first
link can be asked for: the others are proved by a token that comes of them.
"""

from typing import Final

import msgspec
from msgspec import Struct

from broker.checks.findings import Finding, failed, passed
from broker.checks.gcs.site import GcsBench, GcsSite
from broker.checks.gcs.troubles import ACCOUNTS
from broker.checks.needs import Right
from broker.checks.steps import Step
from broker.domain.errors import CredentialsUnavailable, SigningQuotaExhausted
from broker.storage.gcs.endpoint import bucket_path
from broker.storage.gcs.permissions import CREATE, DELEGATION, DELETE, GET, IMPERSONATION, LIST
from broker.storage.gcs.tokens import AccessTokens

_PROBED: Final = (CREATE, DELETE, GET, LIST, "storage.objects.update", "storage.buckets.update",
                  "storage.buckets.setIamPolicy")  # fmt: skip
_MAY: Final[dict[Right, frozenset[str]]] = {
    "write": frozenset({CREATE}),
    "read": frozenset({GET}),
    "remove": frozenset({LIST, DELETE}),
}


class _Permissions(Struct, frozen=True, kw_only=True):
    permissions: tuple[str, ...] = ()


async def source(bench: GcsBench) -> Finding:
    try:
        await bench.site.source.current(bench.clock.now())
    except CredentialsUnavailable as trouble:
        return failed(trouble.detail, f"correct destinations.{bench.site.name}.source, or the environment it is in",
                      is_fatal=True)  # fmt: skip
    return passed()


async def impersonation(bench: GcsBench) -> Finding:
    """What IAM itself says that we may do with each account, or with the first delegate."""
    site = bench.site
    asked = {site.delegates[0]: DELEGATION} if site.delegates else {
        account: IMPERSONATION[ACCOUNTS[right]] for right, account in site.accounts.items()
    }  # fmt: skip
    for account, uses in asked.items():
        path = f"/v1/projects/-/serviceAccounts/{account}:testIamPermissions"
        body = msgspec.json.encode({"permissions": uses})
        headers = {"content-type": "application/json"}
        answer = await site.iam.call("POST", path, site.source, headers=headers, body=body)
        if answer.status != 200:
            return failed(f"IAM answers {answer.status} of {account}",
                          f"correct its name, or grant what `{site.setup}` prints")  # fmt: skip
        missing = [each for each in uses if each not in msgspec.json.decode(answer.body, type=_Permissions).permissions]
        if missing:
            return failed(f"not on {account}: {', '.join(missing)}", f"grant what `{site.setup}` prints",
                          permission=f"{', '.join(missing)} on {account}")  # fmt: skip
    return passed("on the first delegate" if site.delegates else "on writer, reader and janitor")


async def tokens(bench: GcsBench) -> Finding:
    for right, of in bench.site.tokens.items():
        try:
            await of.current(bench.clock.now())
        except CredentialsUnavailable as trouble:
            fix = f"grant what `{bench.site.setup}` prints; a new grant takes minutes to be known everywhere"
            return failed(f"{ACCOUNTS[right]}: {trouble.detail}", fix, is_fatal=True)
    return passed("writer, reader and janitor")


async def signatures(bench: GcsBench) -> Finding:
    for right, signatory in bench.site.signatories.items():
        try:
            await signatory.sign(b"upload-broker check")
        except SigningQuotaExhausted:
            return failed("the quota of signBlob is exhausted",
                          "wait a minute, or lower signing_rate_per_second elsewhere")  # fmt: skip
        except CredentialsUnavailable as trouble:
            fix = f"grant what `{bench.site.setup}` prints; a new grant takes minutes to be known everywhere"
            return failed(f"{ACCOUNTS[right]}: {trouble.detail}", fix, is_fatal=True)
    return passed("writer and reader")


async def least(bench: GcsBench) -> Finding:
    """What each may on the whole bucket; a grant under a condition is none on the whole, and is tried by using it."""
    site = bench.site
    too_much = []
    for right, of in site.unscoped.items():
        extra = await _allowed(site, of) - _MAY[right]
        too_much += [f"{ACCOUNTS[right]}: {', '.join(sorted(extra))}"] if extra else []
    if too_much:
        return failed("; ".join(too_much), f"take away what `{site.setup}` does not grant")
    return passed("one right each")


async def broker_itself(bench: GcsBench) -> Finding:
    site = bench.site
    extra = await _allowed(site, site.in_storage)
    if extra:
        return failed(f"it may itself: {', '.join(sorted(extra))}",
                      "take that away: whoever breaks into the broker should have to go through IAM")  # fmt: skip
    return passed("it may nothing on the bucket")


async def _allowed(site: GcsSite, tokens: AccessTokens) -> set[str]:
    """`buckets.testIamPermissions`. Who may nothing at all may be refused the question."""
    path = f"{bucket_path(site.bucket.destination.bucket).removesuffix('/o')}/iam/testPermissions"
    answer = await site.caller.call("GET", path, tokens, query=[("permissions", each) for each in _PROBED])
    if answer.status in {401, 403}:
        return set()
    if answer.status != 200:
        raise CredentialsUnavailable(f"the store answers {answer.status} to testIamPermissions")
    return set(msgspec.json.decode(answer.body, type=_Permissions).permissions)


STEPS = (
    Step(code="source", tried="the broker's own identity can be had", attempt=source),
    Step(code="impersonation", tried="it may act for the service accounts", attempt=impersonation, after=("source",)),
    Step(code="tokens", tried="each right's account gives a token", attempt=tokens, after=("source",)),
    Step(code="signatures", tried="those whose URLs we hand out sign", attempt=signatures, after=("tokens",)),
    Step(code="least-rights", tried="each account may what it is for and nothing else", attempt=least,
         after=("tokens",)),
    Step(code="least-broker", tried="the broker itself may nothing but impersonate", attempt=broker_itself,
         after=("source",)),
)  # fmt: skip
