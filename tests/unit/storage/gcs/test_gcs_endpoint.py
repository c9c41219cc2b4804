"""Addresses in Google Cloud Storage: which host is called, and how a name is spelled in a path."""

import pytest

from broker.storage.gcs.endpoint import Endpoint, object_path, upload_path, xml_path


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("https://storage.googleapis.com", "https://storage.googleapis.com", "storage.googleapis.com"),
        ("https://Storage.Googleapis.com:443/", "https://storage.googleapis.com", "storage.googleapis.com"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("http://[::1]:80", "http://[::1]", "[::1]"),
    ],
)
def test_the_host_is_spelled_as_clients_send_it(url: str, origin: str, host: str) -> None:
    assert Endpoint.of(url) == Endpoint(origin=origin, host=host)


@pytest.mark.parametrize(
    "url", ["storage.googleapis.com", "ftp://host", "https://", "https://u@host", "https://host/v1", "https://host?x"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Endpoint.of(url)


def test_a_name_is_one_segment_of_the_json_api_and_a_path_of_the_xml_api() -> None:
    key = "up/ä b+%2F..~/?#x"

    assert object_path("acme", key) == "/storage/v1/b/acme/o/up%2F%C3%A4%20b%2B%252F..~%2F%3F%23x"
    assert xml_path("acme", key) == "/acme/up/%C3%A4%20b%2B%252F..~/%3F%23x"
    assert upload_path("acme") == "/upload/storage/v1/b/acme/o"
