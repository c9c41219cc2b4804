"""Two accounts of one Ceph, each with a bucket and a role that a third party – the broker's own key – may assume.

The role may do everything in its account's bucket: what a session may not is its session policy's doing alone.
"""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from tests.contracts.storage.s3.witness import S3Witness
from tests.peers.ceph.cluster import Account, Ceph

SECRET_NAME = "BROKERS_OWN_SECRET"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAccount:
    """`role_arn` may be assumed by `broker`, which may nothing else."""

    name: str
    bucket: str
    role_arn: str
    broker: Account
    witness: S3Witness
    ceph: Ceph

    def toml(self) -> str:
        """One role for every right, narrowed for each."""
        key = f'access_key_id = "{self.broker.credential.access_key}", secret_access_key = {{env = "{SECRET_NAME}"}}'
        return f"""
[destinations.{self.name}]
dialect = "ceph"
bucket = "{self.bucket}"
region = "{self.ceph.region}"
endpoint = "{self.ceph.sts_url}"
accept_unsigned_headers = true
credentials = {{default = {{role_arn = "{self.role_arn}", sts_endpoint = "{self.ceph.sts_url}", source = {{{key}}}}}}}
"""


@contextmanager
def role_accounts(ceph: Ceph, suffix: str) -> Iterator[tuple[RoleAccount, RoleAccount]]:
    """The owner's and the writer's; `suffix` makes their names fresh."""
    with _account(ceph, "red", ceph.owner, suffix) as red, _account(ceph, "blue", ceph.writer, suffix) as blue:
        yield red, blue


@contextmanager
def _account(ceph: Ceph, name: str, owner: Account, suffix: str) -> Iterator[RoleAccount]:
    bucket = role = f"{name}-{suffix}"
    arguments: dict[str, Any] = {
        "endpoint_url": ceph.sts_url,
        "region_name": ceph.region,
        "aws_access_key_id": owner.credential.access_key,
        "aws_secret_access_key": owner.credential.secret_key,
    }
    broker = ceph.writer  # may do nothing in the owner's account but assume that role
    with closing(boto3.client("iam", **arguments)) as iam:
        trusted = {"AWS": [f"arn:aws:iam:::user/{broker.name}"]}
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=_policy("sts:AssumeRole", Principal=trusted))
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        iam.put_role_policy(RoleName=role, PolicyName="all", PolicyDocument=_policy("s3:*", Resource=resources))
    witness = S3Witness.of(ceph.sts_url, ceph.region, owner.credential)
    witness.make_bucket(bucket)
    yield RoleAccount(
        name=name,
        bucket=bucket,
        role_arn=f"arn:aws:iam:::role/{role}",
        broker=broker,
        witness=witness,
        ceph=ceph,
    )
    witness.close()


def _policy(action: str, **more: object) -> str:
    # Without spaces: Ceph 16.2 calls a policy malformed that has some.
    statement = {"Effect": "Allow", "Action": [action], **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))
