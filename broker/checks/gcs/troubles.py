"""What a refusal of Cloud Storage means, and what mends it: codes after "HTTP status and error codes for XML" and "…
for JSON" of its documentation."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from broker.checks.findings import Finding, failed
from broker.checks.needs import Need, Right
from broker.storage.gcs.permissions import Account

if TYPE_CHECKING:
    from broker.checks.gcs.site import GcsSite

ACCOUNTS: Final[Mapping[Right, Account]] = {"write": "writer", "read": "reader", "remove": "janitor"}

_STATUS: Final = re.compile(r"answers (\d{3})(?: ([A-Za-z0-9.]+))?")  # as `broker.storage.gcs.caller.trouble` spells it
_FIXES: Final[Mapping[str, str]] = {
    "SignatureDoesNotMatch": "a proxy rewrites Host or path on the way: set public_endpoint to the address that the "
    "store itself sees",
    "ExpiredToken": "set the clock of this machine (NTP): the URL had just been signed",
    "NoSuchBucket": "make the bucket {bucket}, or correct destinations.{destination}.bucket",
    "UserProjectMissing": "the bucket lets requesters pay, which the broker does not: use another bucket",
}


def spelled(site: "GcsSite", need: Need) -> str:
    """The permissions, on what, and for whom."""
    place = site.bucket.destination
    of = f"gs://{place.bucket}" if need.is_on_bucket else f"gs://{place.bucket}/{place.prefix}/"
    return f"{', '.join(need.actions)} on {of} for {site.accounts[need.right]}"


def explained(site: "GcsSite", need: Need | None, status: int, code: str) -> Finding:
    """A refusal that the step did not expect."""
    said = f"the store answers {status} {code}".strip()
    place = site.bucket.destination
    if code in _FIXES:
        return failed(said, _FIXES[code].format(bucket=place.bucket, destination=place.name))
    if need and status in {401, 403}:
        return failed(said, f"grant what {site.setup} prints", permission=spelled(site, need))
    return failed(said, "with 5xx or no answer, try again; else look at the bucket's audit log for this answer")


def explained_text(site: "GcsSite", need: Need | None, detail: str) -> Finding:
    """The same for the text of an error that an adapter raised."""
    found = _STATUS.search(detail)
    if found is None:
        place = site.bucket.destination.name
        return failed(detail, f"correct destinations.{place}.endpoint, or let this machine reach it; then try again")
    return explained(site, need, int(found[1]), found[2] or "")
