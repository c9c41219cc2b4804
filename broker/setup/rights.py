"""Who may do what: a policy for each right, the trust of each role, and the policy of the bucket itself.

Documents after the IAM User Guide: "Policies and permissions", "How to use an external ID", "OIDC federation"; the
bucket's after the S3 User Guide, "Bucket policies". Actions are those of `broker.storage.s3.policies`, and of what the
destination's own settings need beside.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from broker.setup.terms import RoleTerms, Terms
from broker.storage.s3.policies import PolicyDocument, Right, Statement, policies_of
from broker.storage.s3.session_policies import FOR_HEADERS, FOR_KEYS, s3_service

RIGHTS: tuple[Right, ...] = ("write", "read", "remove")
_PRINCIPALS: Mapping[Right, str] = {
    "write": "WRITE_PRINCIPAL_ARN",
    "read": "READ_PRINCIPAL_ARN",
    "remove": "REMOVE_PRINCIPAL_ARN",
}


def identity_policy(terms: Terms, right: Right) -> PolicyDocument:
    """The least that a right's credential needs, under the prefix of its own bucket."""
    documents = policies_of(bucket=terms.bucket, prefix=terms.prefix, dialect=terms.dialect, origins=())
    statements = [_in_partition(terms, each) for each in getattr(documents, right).statement]
    features = terms.keeping.features
    if right == "write":
        more = tuple(action for feature, action in FOR_HEADERS.items() if feature in features)
        statements[0] = replace(statements[0], action=(*statements[0].action, *more))
    if "sse-kms" in features and right in FOR_KEYS and terms.dialect_name == "aws":
        statements.append(_key_statement(terms, right))
    return PolicyDocument(statement=tuple(statements))


def trust_policies(terms: Terms) -> dict[str, PolicyDocument]:
    """By role, who may assume it."""
    return {role.name: _trust(terms, role) for role in terms.roles.values()}


def bucket_policy(terms: Terms) -> PolicyDocument | None:
    """What the bucket says of others than its owner's own identities; None where there are no such policies."""
    if terms.dialect_name == "r2":
        return None
    if terms.dialect_name == "aws":
        rights = [right for right in RIGHTS if right in terms.roles]
        return PolicyDocument(
            statement=(_no_plain_http(terms), *(each for right in rights for each in _granted(terms, right)))
        )
    return PolicyDocument(statement=tuple(each for right in RIGHTS for each in _granted(terms, right)))


def _granted(terms: Terms, right: Right) -> list[Statement]:
    """The right's own policy, with its principal: for one that comes from another account it takes both."""
    role = terms.roles.get(right)
    principal = {"AWS": role.arn if role else _PRINCIPALS[right]}
    on_bucket = [each for each in identity_policy(terms, right).statement if each.resource != "*"]
    return [replace(each, principal=principal) for each in on_bucket if not _is_of_keys(each)]


def _is_of_keys(statement: Statement) -> bool:
    return any(action.startswith("kms:") for action in statement.action)


def _no_plain_http(terms: Terms) -> Statement:
    """S3 User Guide, "Security best practices": enforce encryption of data in transit."""
    return Statement(
        sid="NeverInTheClear",
        effect="Deny",
        principal="*",
        action=("s3:*",),
        resource=(terms.bucket_arn, f"{terms.bucket_arn}/*"),
        condition={"Bool": {"aws:SecureTransport": "false"}},
    )


def _trust(terms: Terms, role: RoleTerms) -> PolicyDocument:
    if role.is_web_identity:
        provider = f"arn:{terms.partition}:iam::{role.account}:oidc-provider/OIDC_PROVIDER"
        statement = Statement(
            sid="TheBrokersToken",
            effect="Allow",
            principal={"Federated": provider},
            action=("sts:AssumeRoleWithWebIdentity",),
            condition={"StringEquals": {"OIDC_PROVIDER:aud": "sts.amazonaws.com", "OIDC_PROVIDER:sub": "OIDC_SUBJECT"}},
        )
        return PolicyDocument(statement=(statement,))
    statement = Statement(
        sid="TheBroker",
        effect="Allow",
        principal={"AWS": role.assumed_by},
        action=("sts:AssumeRole",),
        condition=None if role.external_id is None else {"StringEquals": {"sts:ExternalId": role.external_id}},
    )
    return PolicyDocument(statement=(statement,))


def _key_statement(terms: Terms, right: Right) -> Statement:
    key = terms.keeping.kms_key_id or ""
    return Statement(
        sid="KeysThroughS3",
        effect="Allow",
        action=FOR_KEYS[right],
        resource=key if key.startswith("arn:") and ":key/" in key else "*",
        condition={"StringEquals": {"kms:ViaService": s3_service(terms.region)}},
    )


def _in_partition(terms: Terms, statement: Statement) -> Statement:
    return replace(statement, resource=str(statement.resource).replace("arn:aws:", f"arn:{terms.partition}:", 1))
