"""Profile `versitygw`: makes the account that only writes, and the bucket policy that lets it do nothing else.

README.md, "The guard", says why a store that may obey unsigned headers needs it. Runs in the image of the broker, once
at each start, and changes nothing that is right already. Never run against a real gateway by us: it follows versitygw's
own `admin create-user` (cmd/versitygw/admin.go: PATCH /create-user, signed, XML) and its bucket policies, whose
principals are access keys.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

ENDPOINT = os.environ.get("GATEWAY_URL", "http://store:9000")
REGION = "us-east-1"
BUCKET = "uploads"
EXISTS = 409


def create_writer(admin: Credentials, access_key: str, secret_key: str) -> None:
    fields = {"Access": access_key, "Secret": secret_key, "Role": "user", "UserID": "0", "GroupID": "0"}
    body = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())  # of our own alphabet: deploy/env.py
    request = AWSRequest("PATCH", f"{ENDPOINT}/create-user", data=f"<Account>{body}</Account>".encode())
    SigV4Auth(admin, "s3", REGION).add_auth(request)
    signed = urllib.request.Request(  # noqa: S310 - our own endpoint
        ENDPOINT + "/create-user", request.data, dict(request.headers.items()), method="PATCH"
    )
    try:
        urllib.request.urlopen(signed, timeout=10).close()  # noqa: S310
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code != EXISTS:
            raise


def policy_for(access_key: str) -> str:
    """What the broker says that its write credential must be allowed, and denied."""
    told = subprocess.run(["upload-broker", "setup", "s3", "default", "--print"], check=True, stdout=subprocess.PIPE)
    document = json.loads(told.stdout)["default"]["write"]
    if not any(statement["Effect"] == "Deny" for statement in document["Statement"]):
        sys.exit("the brokers take this gateway for AWS: set BROKER_TOML=./deploy/broker.versitygw.toml in .env")
    for statement in document["Statement"]:
        statement["Principal"] = {"AWS": [access_key]}
    return json.dumps(document)


def main() -> int:
    admin = Credentials(os.environ["STORE_ACCESS_KEY"], os.environ["STORE_SECRET_KEY"])
    writer = os.environ["STORE_WRITER_ACCESS_KEY"]
    policy = policy_for(writer)
    create_writer(admin, writer, os.environ["STORE_WRITER_SECRET_KEY"])
    store = boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        region_name=REGION,
        aws_access_key_id=admin.access_key,
        aws_secret_access_key=admin.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )
    store.put_bucket_policy(Bucket=BUCKET, Policy=policy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
