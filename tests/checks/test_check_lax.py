"""A store that verifies nothing – moto – must fail loudly: that is what a check is for."""

from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from broker.checks.findings import Outcome
from tests.checks.world import Place


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="uploads")
    client.close()
    yield url
    server.stop()


async def test_a_store_that_verifies_nothing_fails_at_every_tampering(moto: str) -> None:
    checked = await Place(endpoint=moto, keys=("a", "b")).check()

    assert checked.report.outcome is Outcome.FAILED
    tampering = {step.code for step in checked.report.steps if step.code.startswith("tamper-")}
    assert len(tampering) == 7
    assert tampering <= checked.failed
    assert {"multipart-part-length", "unsigned-copy"} <= checked.failed
    assert "NOT refused" in checked.step("tamper-length").said
    assert "do not let it receive uploads" in str(checked.step("tamper-length").fix)
    assert {"put", "head", "get"} <= checked.of(Outcome.PASSED)
