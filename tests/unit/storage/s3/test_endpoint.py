"""A bucket has one right address for each style, and an impossible one is refused when it is configured."""

import pytest

from broker.storage.s3.endpoint import Addresses, Addressing, Endpoint, usual_addressing


@pytest.mark.parametrize(
    ("url", "addressing", "address"),
    [
        (None, "virtual", "https://acme.s3.eu-central-1.amazonaws.com/k"),
        (None, "path", "https://s3.eu-central-1.amazonaws.com/acme/k"),
        ("http://127.0.0.1:9000", "path", "http://127.0.0.1:9000/acme/k"),
        ("http://[::1]:9000/", "path", "http://[::1]:9000/acme/k"),
        ("https://Store.Example:443", "virtual", "https://acme.store.example/k"),
        ("http://localhost:7480", "virtual", "http://acme.localhost:7480/k"),
        ("https://store.example/storage/v1/s3", "path", "https://store.example/storage/v1/s3/acme/k"),
    ],
)
def test_an_object_has_one_address(url: str | None, addressing: Addressing, address: str) -> None:
    endpoint = Endpoint.of(bucket="acme", region="eu-central-1", url=url, addressing=addressing)

    assert endpoint.origin + endpoint.path("k") == address
    assert endpoint.origin.endswith(f"://{endpoint.host}")


def test_china_has_its_own_suffix() -> None:
    endpoint = Endpoint.of(bucket="acme", region="cn-north-1", url=None, addressing="virtual")

    assert endpoint.host == "acme.s3.cn-north-1.amazonaws.com.cn"


def test_a_key_is_encoded_once_and_never_normalised() -> None:
    endpoint = Endpoint.of(bucket="acme", region="eu-central-1", url=None, addressing="virtual")

    assert endpoint.path("a//./../b c+%é") == "/a//./../b%20c%2B%25%C3%A9"


@pytest.mark.parametrize(
    ("bucket", "url", "reason"),
    [
        ("acme.uploads", None, "use path addressing"),
        ("Acme", "https://store.example", "use path addressing"),
        ("acme", "http://127.0.0.1:9000", "use path addressing"),
        ("acme", "http://[::1]:9000", "use path addressing"),
    ],
)
def test_virtual_addressing_that_cannot_work_is_refused(bucket: str, url: str | None, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Endpoint.of(bucket=bucket, region="eu-central-1", url=url, addressing="virtual")


@pytest.mark.parametrize(
    "url", ["127.0.0.1:9000", "ftp://store.example", "https://", "https://u:p@store.example", "https://s.example/?a=b"]
)
def test_what_is_not_an_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Endpoint.of(bucket="acme", region="eu-central-1", url=url, addressing="path")


def test_a_user_in_the_endpoint_is_not_repeated_in_the_error() -> None:
    with pytest.raises(ValueError, match="endpoint") as refusal:
        Endpoint.of(bucket="acme", region="eu-central-1", url="https://u:hush@store.example", addressing="path")

    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize("bucket", ["", "a/b"])
def test_what_is_not_a_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(ValueError, match="not a bucket"):
        Endpoint.of(bucket=bucket, region="eu-central-1", url=None, addressing="path")


@pytest.mark.parametrize("region", ["", "auto", "x.evil.example/"])
def test_a_region_that_is_not_one_of_aws_needs_an_endpoint(region: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Endpoint.of(bucket="acme", region=region, url=None, addressing="virtual")


def test_clients_are_sent_to_the_public_address_and_we_call_the_internal_one() -> None:
    addresses = Addresses.of(
        bucket="acme",
        region="eu-central-1",
        addressing="path",
        endpoint="http://10.0.0.7:9000",
        public_endpoint="https://files.example",
    )

    assert addresses.internal.origin == "http://10.0.0.7:9000"
    assert addresses.public.origin == "https://files.example"
    assert addresses.consumer is addresses.public


def test_consumers_may_read_from_an_address_of_their_own() -> None:
    addresses = Addresses.of(
        bucket="acme",
        region="eu-central-1",
        addressing="path",
        endpoint="http://10.0.0.7:9000",
        public_endpoint="https://files.example",
        consumer_endpoint="http://store.inside:9000",
    )

    assert addresses.consumer.origin == "http://store.inside:9000"
    assert addresses.public.origin == "https://files.example"


def test_without_a_public_address_all_are_the_same() -> None:
    addresses = Addresses.of(bucket="acme", region="eu-central-1", addressing="virtual")

    assert addresses.public is addresses.internal
    assert addresses.consumer is addresses.internal


@pytest.mark.parametrize(
    ("bucket", "url", "style"),
    [("acme", None, "virtual"), ("acme.uploads", None, "path"), ("acme", "http://127.0.0.1:9000", "path")],
)
def test_the_usual_style_works_without_being_chosen(bucket: str, url: str | None, style: Addressing) -> None:
    assert usual_addressing(bucket=bucket, url=url) == style
    Endpoint.of(bucket=bucket, region="eu-central-1", url=url, addressing=style)
