"""What botocore raises about a queue, in our words: which queue, which permission, what must be mended.

The codes are those of the Amazon SQS API Reference ("Common Error Types", and the errors of each action); SQS puts
`AWS.SimpleQueueService.` before some, for clients of its older protocol. What AWS says beyond its code is not repeated:
it names principals.
"""

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotocoreConnectionError
from botocore.parsers import ResponseParserError

from broker.domain.errors import BrokerError, CredentialsUnavailable, SourceRefused, SourceUnavailable

_MISSING = frozenset({"NonExistentQueue", "QueueDoesNotExist", "QueueDeletedRecently", "InvalidAddress"})
_REFUSED = frozenset({"AccessDenied", "AccessDeniedException", "InvalidSecurity", "OptInRequired", "NotAuthorized"})
_NOT_ACCEPTED = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_PATIENCE = frozenset(
    {
        "KMS.ThrottlingException",
        "KmsThrottled",
        "OverLimit",  # 120,000 messages are lent at once ("Amazon SQS message quotas")
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_KMS = ("KMS.", "Kms")
_UNREACHED = (HTTPClientError, BotocoreConnectionError, ResponseParserError)  # the rest is about credentials
# What is asked of others is asked for a credential.
_OPERATIONS = frozenset({"ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch", "GetQueueAttributes"})


def understood(exc: Exception, *, source: str, queue_url: str, permission: str) -> BrokerError:
    """:param permission: the one that the call needs, as IAM spells it."""
    place = f"sources.{source}"
    if isinstance(exc, ClientError):
        return _answered(exc, place, queue_url, permission)
    if isinstance(exc, BotoCoreError) and not isinstance(exc, _UNREACHED):
        why = exc.__cause__.detail if isinstance(exc.__cause__, BrokerError) else type(exc).__name__
        return CredentialsUnavailable(f"{place}.credentials: nothing to sign with: {why}")
    return SourceUnavailable(f"{place}: no answer about {queue_url} ({type(exc).__name__})")


def _answered(exc: ClientError, place: str, queue_url: str, permission: str) -> BrokerError:
    code = exc.response.get("Error", {}).get("Code", "")
    if exc.operation_name not in _OPERATIONS:
        return CredentialsUnavailable(f"{place}.credentials: {exc.operation_name} was refused ({code})")
    kind, sentence = _meaning(code.rpartition("#")[2].removeprefix("AWS.SimpleQueueService."))
    return kind(f"{place}: {sentence.format(queue=queue_url, permission=permission)} ({code or 'no code'})")


def _meaning(code: str) -> tuple[type[BrokerError], str]:
    if code in _NOT_ACCEPTED:
        return CredentialsUnavailable, "the credential is not accepted for {queue}"
    if code in _PATIENCE:
        return SourceUnavailable, "{queue} asks for patience"
    if code in _MISSING:
        return SourceRefused, "there is no queue {queue}, or not for this credential: compare account, region and name"
    if code.startswith(_KMS):
        return SourceRefused, "kms:Decrypt is needed on the key that encrypts {queue}"
    if code in _REFUSED:
        return SourceRefused, "{permission} on {queue} is not permitted"
    return SourceUnavailable, "{queue} fails"
