"""Where a queue is: its URL, the region that signs for it, and the host that is asked.

"Amazon Simple Queue Service endpoints and quotas" (AWS General Reference): `sqs.REGION.amazonaws.com`, with `sqs-fips`,
the dual-stack `sqs.REGION.api.aws`, and other suffixes in other partitions; a VPC endpoint puts its id before. The
older spelling, `REGION.queue.amazonaws.com`, is not taken: nobody knows which of its hosts still answer what we speak.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, urlsplit

_AWS_HOST = re.compile(
    r"(?:vpce-[a-z0-9-]+\.)?sqs(?:-fips)?\.(?P<region>[a-z]{2,}(?:-[a-z]+)+-[0-9]+)\.(?:vpce\.)?"
    r"(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|api\.aws|api\.amazonwebservices\.com\.cn"
    r"|c2s\.ic\.gov|sc2s\.sgov\.gov|csp\.hci\.ic\.gov|cloud\.adc-e\.uk)"
)
# CreateQueue, QueueName: up to 80 alphanumeric characters, hyphens and underscores; of FIFO queues `.fifo` is a part.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
DEFAULT_REGION = "us-east-1"  # of servers that have no regions and want a name all the same


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsAddress:
    """:param endpoint: scheme and host that are asked, whatever host the queue's URL names."""

    queue_url: str
    region: str
    endpoint: str

    @classmethod
    def of(cls, *, queue_url: str, region: str | None = None, endpoint: str | None = None) -> Self:
        """:param endpoint: needed where the host is none of AWS': a token goes along with what is signed.
        :raises ValueError: one sentence on what does not fit.
        """
        url = _split(queue_url, "queue_url")
        if not _NAME.fullmatch(url.path.rpartition("/")[2]):
            raise ValueError("queue_url must end in the name of a queue: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
        host = _AWS_HOST.fullmatch(url.hostname or "")
        if host is None and endpoint is None:
            raise ValueError(
                f"the host of queue_url, {url.hostname}, is no SQS host of AWS; if that is right, say so by "
                f'endpoint = "{url.scheme}://{url.netloc}"'
            )
        if host is not None and region not in {None, host["region"]}:
            raise ValueError(f"region {region!r} is not that of queue_url, {host['region']!r}")
        if host is not None and endpoint is None and url.scheme != "https":
            raise ValueError("queue_url must be https")
        if region is not None and not _REGION.fullmatch(region):
            raise ValueError(f"region {region!r} is none")
        asked = url if endpoint is None else _split(endpoint, "endpoint")
        if endpoint is not None and asked.path.strip("/"):
            raise ValueError("endpoint is scheme and host, with a port where needed")
        found = region or (host["region"] if host else DEFAULT_REGION)
        return cls(queue_url=queue_url, region=found, endpoint=f"{asked.scheme}://{asked.netloc}")


def _split(text: str, name: str) -> SplitResult:
    """:raises ValueError: it is no plain URL, or it holds a password, which would be sent and logged."""
    url = urlsplit(text)
    if url.username is not None or url.password is not None:
        raise ValueError(f"{name} must not hold a password")
    if url.scheme not in {"http", "https"} or not url.hostname or url.query or url.fragment or not text.isprintable():
        raise ValueError(f"{name} {text!r} is no http(s) URL without query")
    _ = url.port  # raises for one that is none
    return url
