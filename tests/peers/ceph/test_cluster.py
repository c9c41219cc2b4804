"""Our own Ceph ends with whoever started it, however that ends."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from typing import Any

import boto3
import psutil  # type: ignore[import-untyped]
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.peers.ceph.cluster import Ceph

DAEMONS = {"ceph-mon", "ceph-osd", "radosgw"}


@pytest.mark.usefixtures("ceph")  # where Ceph is missing this is skipped, or fails, as all that needs it
def test_no_daemon_outlives_a_starter_that_was_killed() -> None:
    # The state of who is killed stays behind: hence a folder around it.
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.peers.ceph"], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": folder}
        ) as starter,
    ):
        assert starter.stdout is not None
        assert b"AWS_ENDPOINT_URL=http://127.0.0.1:" in starter.stdout.readline()
        family = psutil.Process(starter.pid).children(recursive=True)
        assert {process.name() for process in family} == DAEMONS

        starter.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_a_role_gives_a_credential_that_may_no_more_than_its_session_policy(ceph: Ceph) -> None:
    owner = ceph.owner.credential
    arguments: dict[str, Any] = {
        "endpoint_url": ceph.sts_url,
        "region_name": ceph.region,
        "aws_access_key_id": owner.access_key,
        "aws_secret_access_key": owner.secret_key,
    }
    trust = policy("sts:AssumeRole", Principal={"AWS": ["arn:aws:iam:::user/owner"]})
    with closing(boto3.client("iam", **arguments)) as iam:
        iam.create_role(RoleName="uploads", AssumeRolePolicyDocument=trust)
        everything = policy("s3:*", Resource="arn:aws:s3:::*")
        iam.put_role_policy(RoleName="uploads", PolicyName="all", PolicyDocument=everything)
    with closing(boto3.client("sts", **arguments)) as sts:
        keys = sts.assume_role(
            RoleArn="arn:aws:iam:::role/uploads",
            RoleSessionName="test",
            Policy=policy("s3:PutObject", Resource="arn:aws:s3:::roles/uploads/*"),
        )["Credentials"]
    with closing(boto3.client("s3", **arguments)) as s3:
        s3.create_bucket(Bucket="roles")
    temporary = {"aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]}
    plain = Config(request_checksum_calculation="when_required", s3={"addressing_style": "path"})
    session = {**arguments, **temporary, "aws_session_token": keys["SessionToken"], "config": plain}
    with closing(boto3.client("s3", **session)) as s3:
        s3.put_object(Bucket="roles", Key="uploads/a", Body=b"1")
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.put_object(Bucket="roles", Key="private/a", Body=b"1")
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.get_object(Bucket="roles", Key="uploads/a")


def policy(action: str, **more: object) -> str:
    statement = {"Effect": "Allow", "Action": [action], **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, separators=(",", ":"))


def test_it_listens_on_loopback_only(ceph: Ceph) -> None:
    assert ceph.url.startswith("http://127.0.0.1:")
    daemons = [process for process in psutil.Process().children(recursive=True) if process.name() in DAEMONS]
    listening = [each for daemon in daemons for each in daemon.net_connections() if each.status == psutil.CONN_LISTEN]
    assert {process.name() for process in daemons} == DAEMONS
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
