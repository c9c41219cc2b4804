"""Topics of SNS, and the only addresses that messages of a topic can make us call.

No URL of a message is taken apart, and none but that of the certificate is called as it stands: it must be, letter by
letter, one that we would have written ourselves. So there is no port, no user, no other spelling of the host to think
of. The address that confirms a subscription we write ourselves.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from broker.domain.errors import ConfigurationInvalid

# Partition of the ARN to domain (AWS General Reference, "Amazon SNS endpoints and quotas").
_DOMAINS = {"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn"}
_ARN = re.compile(
    r"arn:(?P<partition>aws|aws-us-gov|aws-cn):sns:(?P<region>[a-z]{2}(-[a-z]+){1,2}-[0-9]{1,2}):"
    r"[0-9]{12}:[A-Za-z0-9_-]{1,256}"
)
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[A-Za-z0-9_-]{1,128}\.pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    arn: str
    host: str  # where SNS answers in the topic's own region and partition

    @classmethod
    def parse(cls, arn: str) -> Self:
        """:raises ConfigurationInvalid: no topic that can call an address."""
        match = _ARN.fullmatch(arn)
        if match is None:
            raise ConfigurationInvalid(f"{arn!r} is no topic: arn:aws:sns:REGION:ACCOUNT:NAME, and none of kind FIFO")
        return cls(arn=arn, host=f"sns.{match['region']}.{_DOMAINS[match['partition']]}")

    def is_certificate(self, url: str) -> bool:
        """Whether a certificate for messages of this topic may be fetched from there."""
        origin = f"https://{self.host}"
        return url.startswith(origin) and _CERTIFICATE.fullmatch(url, len(origin)) is not None

    def confirmation(self, token: str) -> str:
        """SNS API Reference, ConfirmSubscription: unsigned, so that it stays possible to unsubscribe as it is now."""
        query = {"Action": "ConfirmSubscription", "TopicArn": self.arn, "Token": token}
        return f"https://{self.host}/?{urlencode(query)}"
