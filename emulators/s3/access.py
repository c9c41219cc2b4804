"""Who may do what: the owner of a bucket everything, others what its bucket policy says, anonymous ones hardly a thing.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-policy-language-overview.html. Allow and Deny with
Principal, Action, Resource and wildcards; a statement with anything else (Condition, Not…) is refused when it is put,
because a policy that is half understood would be a hole.
"""

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from emulators.s3.catalogue import Bucket
from emulators.s3.errors import S3Error

_ARN: Final = re.compile(r"arn:aws:(?:iam|sts)::(?P<account>[^:]*):(?:root|user/(?P<user>.+))")
Texts = str | list[str]


class Statement(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    effect: str
    principal: str | dict[str, Texts]
    action: Texts
    resource: Texts
    sid: str = ""

    def applies(self, who: str | None, action: str, resource: str) -> bool:
        return (
            any(_is_principal(each, who) for each in self._principals())
            and any(_is_like(each.lower(), action.lower()) for each in _list(self.action))
            and any(_is_like(each, f"arn:aws:s3:::{resource}") for each in _list(self.resource))
        )

    @property
    def is_public(self) -> bool:
        """ "Blocking public access", "The meaning of public": a grant to everybody, for conditions are unknown here."""
        return self.effect == "Allow" and "*" in self._principals()

    def _principals(self) -> list[str]:
        return _list(self.principal.get("AWS", []) if isinstance(self.principal, dict) else self.principal)


class Policy(msgspec.Struct, frozen=True, rename="pascal", forbid_unknown_fields=True):
    statement: list[Statement]
    version: str = ""
    id: str = ""

    @property
    def is_public(self) -> bool:
        return any(statement.is_public for statement in self.statement)


def parse_policy(body: bytes) -> Policy:
    """:raises S3Error: MalformedPolicy; also for what this emulator does not evaluate."""
    try:
        policy = msgspec.json.decode(body, type=Policy)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise S3Error("MalformedPolicy", f"Not a policy that this emulator evaluates: {exc}") from exc
    if any(statement.effect not in {"Allow", "Deny"} for statement in policy.statement):
        raise S3Error("MalformedPolicy", "Effect is Allow or Deny.")
    return policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rights of one caller (an account's name, or None) in one bucket."""

    who: str | None
    bucket: Bucket

    def allows(self, action: str, key: str | None = None) -> bool:
        resource = self.bucket.name if key is None else f"{self.bucket.name}/{key}"
        policy = parse_policy(self.bucket.policy) if self.bucket.policy else Policy(statement=[])
        if policy.is_public and self.who != self.bucket.owner and self.bucket.has_block("RestrictPublicBuckets"):
            return False
        effects = {each.effect for each in policy.statement if each.applies(self.who, action, resource)}
        return "Deny" not in effects and ("Allow" in effects or self.who == self.bucket.owner)

    def require(self, action: str, key: str | None = None) -> None:
        """:raises S3Error: AccessDenied."""
        if not self.allows(action, key):
            raise S3Error("AccessDenied")


def _is_principal(pattern: str, who: str | None) -> bool:
    if pattern == "*":
        return True
    match = _ARN.fullmatch(pattern)
    return who is not None and who in ({match["user"] or match["account"]} if match else {pattern})


def _is_like(pattern: str, text: str) -> bool:
    regex = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(regex, text, re.DOTALL) is not None


def _list(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else texts
