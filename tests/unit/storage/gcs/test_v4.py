"""Our V4 signatures are those of google-cloud-storage, byte for byte."""

from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.storage.gcs.endpoint import Endpoint, xml_path
from broker.storage.gcs.v4 import MAX_EXPIRES_SECONDS, GoogV4
from broker.storage.signing import UnsignedRequest, attachment
from tests.unit.storage.gcs.signing_peer import foreign_url, rsa_signer

NOW = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)
EMAIL = "uploads-writer@acme.iam.gserviceaccount.com"

readable = st.characters(blacklist_categories=["Cs", "Cc"])
awkward = st.sampled_from(["+", "%", "%2F", "//", "/", ".", "..", " ", "~", "é", "日本", "🗺", "=", "&", "?", "#", ";"])
keys = (
    st.lists(awkward | st.text(readable, max_size=8), min_size=1, max_size=60)
    .map("".join)
    .map(lambda text: text.encode()[:1024].decode(errors="ignore"))
    .filter(bool)
)
buckets = st.from_regex(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", fullmatch=True)
token_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$&^_.|~+-", min_size=1, max_size=20)
header_names = st.sampled_from(
    [
        "content-type",
        "content-md5",
        "if-match",
        "x-goog-hash",
        "x-goog-if-generation-match",
        "x-goog-content-length-range",
        "x-goog-meta-upload-session",
    ]
) | token_names.map("x-goog-meta-{}".format)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126) | st.sampled_from("\t  "), max_size=40)
headers = st.dictionaries(header_names, header_values, max_size=9)
queries = st.dictionaries(
    st.sampled_from(["userProject", "response-content-type", "A", "zz", "a", "a-b"]) | token_names,
    st.text(readable, max_size=20),
    max_size=5,
)
generations = st.none() | st.integers(1, 2**63 - 1).map(str)
filenames = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40)
emails = st.from_regex(r"[a-z][a-z0-9-]{0,20}@[a-z][a-z0-9-]{0,20}\.iam\.gserviceaccount\.com", fullmatch=True) | (
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
)
clocks = st.datetimes(datetime(1970, 1, 1), datetime(2105, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
endpoints = st.sampled_from(
    [
        "https://storage.googleapis.com",
        "https://storage.europe-west3.rep.googleapis.com",
        "http://127.0.0.1:9000",
        "https://store.example:8443",
        "http://[::1]:9000",
    ]
)
lifetimes = st.integers(1, MAX_EXPIRES_SECONDS)


def ours(request: UnsignedRequest, *, email: str, now: datetime, seconds: int) -> str:
    draft = GoogV4().draft(request, signer=email, now=now, expires_seconds=seconds)
    return draft.signed(rsa_signer().sign(draft.string_to_sign))


def request_of(method: str, bucket: str, key: str, endpoint: str, **differs: object) -> UnsignedRequest:
    place = Endpoint.of(endpoint)
    fields = {"method": method, "origin": place.origin, "host": place.host, "path": xml_path(bucket, key), **differs}
    return UnsignedRequest(**fields)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=300)
@given(keys, buckets, headers, emails, endpoints, clocks, lifetimes, st.sampled_from(["PUT", "GET", "POST", "DELETE"]))
@example("/leading", "abc", {}, EMAIL, "https://storage.googleapis.com", NOW, 900, "PUT")
@example("a/../b/./c//d", "abc", {}, EMAIL, "https://storage.googleapis.com", NOW, 900, "PUT")
@example("é" * 512, "a.b_c-d", {"x-goog-meta-a": " a \t b "}, EMAIL, "http://127.0.0.1:9000", NOW, 43_200, "PUT")
def test_a_signed_url_is_that_of_google_cloud_storage_byte_for_byte(
    key: str,
    bucket: str,
    signed: dict[str, str],
    email: str,
    endpoint: str,
    now: datetime,
    seconds: int,
    method: str,
) -> None:
    request = request_of(method, bucket, key, endpoint, headers=signed)

    assert ours(request, email=email, now=now, seconds=seconds) == foreign_url(
        method, bucket, key, endpoint=endpoint, email=email, now=now, seconds=seconds, headers=signed
    )


@settings(deadline=None, max_examples=200)
@given(keys, queries, generations, st.none() | filenames, endpoints, clocks, lifetimes)
def test_so_is_one_with_a_generation_a_disposition_and_any_query(
    key: str,
    query: dict[str, str],
    generation: str | None,
    filename: str | None,
    endpoint: str,
    now: datetime,
    seconds: int,
) -> None:
    disposition = None if filename is None else attachment(filename)
    named = {"generation": generation, "response-content-disposition": disposition}
    more = {name: value for name, value in named.items() if value is not None}
    request = request_of("GET", "acme-uploads", key, endpoint, query=tuple({**query, **more}.items()))

    assert ours(request, email=EMAIL, now=now, seconds=seconds) == foreign_url(
        "GET",
        "acme-uploads",
        key,
        endpoint=endpoint,
        email=EMAIL,
        now=now,
        seconds=seconds,
        headers={},
        query_parameters=dict(query),
        generation=generation,
        response_disposition=disposition,
    )


@given(headers, queries)
def test_what_is_passed_in_is_not_changed(signed: dict[str, str], query: dict[str, str]) -> None:
    """The library's own way writes Host, X-Goog-* and more into the caller's dicts."""
    pairs = tuple(query.items())
    request = request_of("PUT", "abc", "k", "http://127.0.0.1:9000", headers=MappingProxyType(signed), query=pairs)
    before = dict(signed)

    ours(request, email=EMAIL, now=NOW, seconds=60)

    assert signed == before
    assert request.query == pairs


@pytest.mark.parametrize(
    ("written", "host"), [("https://s.example:443", "s.example"), ("http://s.example:80/", "s.example")]
)
def test_a_default_port_is_not_signed_because_no_client_sends_it(written: str, host: str) -> None:
    draft = GoogV4().draft(request_of("GET", "abc", "k", written), signer=EMAIL, now=NOW, expires_seconds=60)

    assert draft == GoogV4().draft(
        request_of("GET", "abc", "k", f"{written.partition(':')[0]}://{host}"),
        signer=EMAIL,
        now=NOW,
        expires_seconds=60,
    )


@pytest.mark.parametrize("seconds", [0, -1, MAX_EXPIRES_SECONDS + 1, 604_800])
def test_a_lifetime_longer_than_the_key_is_promised_to_live_is_never_signed(seconds: int) -> None:
    with pytest.raises(ValueError, match="43200"):
        GoogV4().draft(
            request_of("GET", "abc", "k", "http://127.0.0.1:9000"), signer=EMAIL, now=NOW, expires_seconds=seconds
        )


def test_the_clock_may_stand_in_any_time_zone() -> None:
    request = request_of("GET", "abc", "k", "http://127.0.0.1:9000")
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7)))

    assert ours(request, email=EMAIL, now=elsewhere, seconds=60) == ours(request, email=EMAIL, now=NOW, seconds=60)


def test_a_naive_clock_is_refused() -> None:
    request = request_of("GET", "abc", "k", "http://127.0.0.1:9000")

    with pytest.raises(ValueError, match="aware"):
        GoogV4().draft(request, signer=EMAIL, now=NOW.replace(tzinfo=None), expires_seconds=60)


@pytest.mark.parametrize("name", ["Content-Type", "x-goog-meta-a b", "x-goog-meta-a\n"])
def test_an_ill_spelled_header_name_is_refused(name: str) -> None:
    request = request_of("PUT", "abc", "k", "http://127.0.0.1:9000", headers={name: "x"})

    with pytest.raises(ValueError, match="header names"):
        GoogV4().draft(request, signer=EMAIL, now=NOW, expires_seconds=60)


def test_memory_stays_bounded_however_many_metadata_names_pass() -> None:
    signer = GoogV4()
    for number in range(600):
        request = request_of("PUT", "abc", "k", "http://127.0.0.1:9000", headers={f"x-goog-meta-{number}": "x"})
        signer.draft(request, signer=EMAIL, now=NOW, expires_seconds=60)

    assert max(len(signer._names), len(signer._windows)) <= 256


def test_a_draft_shows_nothing_of_itself() -> None:
    request = request_of("PUT", "abc", "hush", "http://127.0.0.1:9000")

    assert "hush" not in repr(GoogV4().draft(request, signer=EMAIL, now=NOW, expires_seconds=60))
