"""moto's server on loopback: real HTTP, and no check of any signature. It proves flows, never refusals."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from botocore.session import Session
from moto.server import ThreadedMotoServer

REGION = "eu-central-1"
ACCESS_KEY, SECRET_KEY = "AKIAEXAMPLE", "nobody-checks-it"


class MotoPeer:
    """What the servers of `url` hold, and clients of it. Names are fresh: one server serves many tests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sqs, self.sns = self.client("sqs"), self.client("sns")

    def client(self, service: str) -> Any:
        session = Session()
        session.set_credentials(ACCESS_KEY, SECRET_KEY)
        return session.create_client(service, region_name=REGION, endpoint_url=self.url)

    def queue(self, **attributes: str) -> str:
        """The URL of a new one."""
        return str(self.sqs.create_queue(QueueName=f"q{uuid4().hex}", Attributes=attributes)["QueueUrl"])

    def arn(self, queue_url: str) -> str:
        told = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
        return str(told["Attributes"]["QueueArn"])

    def count(self, queue_url: str) -> int:
        """Messages that are there, lent or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
        return sum(int(told[name]) for name in names)


@contextmanager
def running_moto() -> Iterator[MotoPeer]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line for each request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield MotoPeer("http://{}:{}".format(*server.get_host_and_port()))
    finally:
        server.stop()
