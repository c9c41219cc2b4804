"""What a refusal of the store means, and what mends it: codes after "Error responses" of the Amazon S3 API Reference.

One table for everything that a step did not expect. A step says which right it used and which actions that takes.
"""

import re
from typing import TYPE_CHECKING

from broker.checks.findings import Finding, failed
from broker.checks.needs import Need
from broker.storage.s3.session_policies import FOR_HEADERS, FOR_KEYS

if TYPE_CHECKING:
    from broker.checks.s3.site import S3Site

_STATUS = re.compile(r"answers (\d{3})(?: ([A-Za-z0-9.]+))?")  # as `broker.storage.s3.caller.trouble` spells it

_FIXES = {
    "InvalidAccessKeyId": "the store does not know the access key of {credential}: correct it, or the endpoint",
    "SignatureDoesNotMatch": "correct the secret key of {credential}; if it is right, a proxy rewrites Host or path on "
    "the way: set public_endpoint to the address that the store itself sees",
    "ExpiredToken": "the session token of {credential} has ended: renew it, or let a role or profile refresh it",
    "InvalidToken": "the session token of {credential} is not the one of its keys: renew it",
    "RequestTimeTooSkewed": "set the clock of this machine (NTP): SigV4 forgives 15 minutes",
    "NoSuchBucket": "make the bucket {bucket}, or correct destinations.{destination}.bucket",
    "MethodNotAllowed": "the endpoint is none of an S3 bucket: correct destinations.{destination}.endpoint",
    "NotImplemented": 'the store lacks this: name its own dialect, or dialect = "generic"',
    "SlowDown": "the store asks for patience: try again",
}
_REGION_CODES = {"AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "PermanentRedirect",
                 "IllegalLocationConstraintException"}  # fmt: skip


def spelled(site: "S3Site", need: Need) -> str:
    """The permissions, and on what: with what the destination's own settings need beside."""
    features = site.keeping.features
    more = [action for feature, action in FOR_HEADERS.items() if feature in features]
    actions = (*need.actions, *(more if "s3:PutObject" in need.actions else ()))
    keys = FOR_KEYS.get(need.right, ()) if "sse-kms" in features and not need.is_on_bucket else ()
    of_key = f", and {', '.join(keys)} on its key" if keys else ""
    return f"{', '.join(actions)} on {site.bucket_arn if need.is_on_bucket else site.objects_arn}{of_key}"


def explained(site: "S3Site", need: Need | None, status: int, code: str, *, region: str = "") -> Finding:
    """A refusal that the step did not expect.

    :param region: where the store says that the bucket is.
    """
    said = f"the store answers {status} {code}".strip()
    if code in _REGION_CODES or status == 301:
        return failed(said, region_fix(site, region), is_fatal=True)
    credential = f"credentials.{need.right}" if need else "the credential"
    if code in _FIXES:
        place = site.bucket.destination
        fix = _FIXES[code].format(credential=credential, bucket=place.bucket, destination=place.name)
        return failed(said, fix)
    if need and status in {401, 403}:
        return failed(said, allow(site, need), permission=spelled(site, need))
    return failed(said, "see the store's own log for this answer; with 5xx or no answer, try again")


def explained_text(site: "S3Site", need: Need | None, detail: str) -> Finding:
    """The same for the text of an error that an adapter raised."""
    found = _STATUS.search(detail)
    if found is None:
        place = site.bucket.destination.name
        return failed(detail, f"correct destinations.{place}.endpoint, or let this machine reach it; then try again")
    return explained(site, need, int(found[1]), found[2] or "")


def allow(site: "S3Site", need: Need) -> str:
    return f"allow {spelled(site, need)} to credentials.{need.right}; `{site.setup}` prints its whole policy"


def region_fix(site: "S3Site", region: str) -> str:
    place = site.bucket.destination.name
    if region:
        return f'say destinations.{place}.region = "{region}" (now "{site.region}"), and its endpoint if one is named'
    return f'destinations.{place}.region = "{site.region}" is not where the bucket is: correct it, or the endpoint'
