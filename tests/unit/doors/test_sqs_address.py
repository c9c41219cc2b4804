"""Where a queue is: AWS' own hosts are known, others must be meant."""

import re

import pytest

from broker.doors.sqs_address import SqsAddress

NAMED = "/123456789012/uploads"


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("sqs.eu-central-1.amazonaws.com", "eu-central-1"),
        ("sqs.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("sqs-fips.us-east-1.amazonaws.com", "us-east-1"),
        ("sqs.eu-west-1.api.aws", "eu-west-1"),
        ("sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("vpce-0a1b2c-3d4e.sqs.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
    ],
)
def test_a_host_of_aws_tells_its_region_and_is_the_one_that_is_asked(host: str, region: str) -> None:
    found = SqsAddress.of(queue_url=f"https://{host}{NAMED}")
    assert (found.region, found.endpoint, found.queue_url) == (region, f"https://{host}", f"https://{host}{NAMED}")
    assert SqsAddress.of(queue_url=f"https://{host}{NAMED}", region=region) == found


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        (f"http://127.0.0.1:5000{NAMED}", "http://127.0.0.1:5000"),  # moto
        (f"http://sqs.us-east-1.localhost.localstack.cloud:4566{NAMED}", "http://localstack:4566"),
        (f"http://localhost:4566/queue/us-east-1{NAMED}", "http://localhost:4566/"),
        (f"http://localhost:9324{NAMED}", "http://elasticmq:9324"),
    ],
)
def test_another_server_is_asked_where_its_endpoint_says(url: str, endpoint: str) -> None:
    found = SqsAddress.of(queue_url=url, endpoint=endpoint)
    assert (found.queue_url, found.endpoint) == (url, endpoint.rstrip("/"))
    assert found.region == "us-east-1"
    assert SqsAddress.of(queue_url=url, endpoint=endpoint, region="eu-west-3").region == "eu-west-3"


def test_aws_through_an_endpoint_of_ones_own_keeps_its_region() -> None:
    url = f"https://sqs.eu-central-1.amazonaws.com{NAMED}"
    endpoint = "https://vpce-1-2.sqs.eu-central-1.vpce.amazonaws.com"
    found = SqsAddress.of(queue_url=url, endpoint=endpoint)
    assert (found.region, found.endpoint) == ("eu-central-1", endpoint)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"queue_url": f"https://sqs.eu-central-1.amazonaws.com.evil.example{NAMED}"}, "no SQS host of AWS"),
        ({"queue_url": f"https://evil.example/sqs.eu-central-1.amazonaws.com{NAMED}"}, "no SQS host of AWS"),
        ({"queue_url": f"https://eu-west-1.queue.amazonaws.com{NAMED}"}, "no SQS host of AWS"),
        ({"queue_url": f"http://127.0.0.1:5000{NAMED}"}, 'endpoint = "http://127.0.0.1:5000"'),
        ({"queue_url": f"http://sqs.eu-central-1.amazonaws.com{NAMED}"}, "must be https"),
        ({"queue_url": f"https://sqs.eu-central-1.amazonaws.com{NAMED}", "region": "us-east-1"}, "is not that of"),
        ({"queue_url": "https://sqs.eu-central-1.amazonaws.com"}, "must end in the name"),
        ({"queue_url": "https://sqs.eu-central-1.amazonaws.com/1/"}, "must end in the name"),
        ({"queue_url": "https://sqs.eu-central-1.amazonaws.com/1/a%20b"}, "must end in the name"),
        ({"queue_url": "arn:aws:sqs:eu-central-1:123456789012:uploads"}, "no http"),
        ({"queue_url": "uploads"}, "no http"),
        ({"queue_url": f"https://sqs.eu-central-1.amazonaws.com{NAMED}?Action=x"}, "no http"),
        ({"queue_url": f"https://key:secret@sqs.eu-central-1.amazonaws.com{NAMED}"}, "must not hold a password"),
        ({"queue_url": f"http://h:1{NAMED}", "endpoint": "http://u:p@h:1"}, "endpoint must not hold a password"),
        ({"queue_url": f"http://h:1{NAMED}", "endpoint": "http://h:1/sqs"}, "endpoint is scheme and host"),
        ({"queue_url": f"http://h:1{NAMED}", "endpoint": "h:1"}, "endpoint 'h:1' is no http"),
        ({"queue_url": f"http://h:1{NAMED}", "endpoint": "http://h:99999"}, "Port out of range"),
        ({"queue_url": f"http://h:1{NAMED}", "endpoint": "http://h:1", "region": "Frankfurt (main)"}, "is none"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, str], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)) as refused:
        SqsAddress.of(**given)
    assert "secret" not in str(refused.value)


def test_a_fifo_queue_is_one() -> None:
    url = f"https://sqs.eu-central-1.amazonaws.com{NAMED}.fifo"
    assert SqsAddress.of(queue_url=url).queue_url == url
