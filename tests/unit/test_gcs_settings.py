"""Destinations in Google Cloud Storage: what may be said of them, and what is refused, with its place."""

from datetime import timedelta
from pathlib import Path

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.operate_setup import print_setup
from broker.settings import GcsDestination, GoogleSourceSettings, S3Destination, Settings, load
from broker.settings.google import project_of
from broker.wiring import terms_of
from broker.wiring.providers import destination_of

SCANS = """
[destinations.scans]
provider = "gcs"
bucket = "acme-uploads"
writer = "uploads-writer@acme.iam.gserviceaccount.com"
reader = "uploads-reader@acme.iam.gserviceaccount.com"
janitor = "uploads-janitor@acme.iam.gserviceaccount.com"
"""


def loaded(directory: Path, text: str, **environ: str) -> Settings:
    path = directory / "broker.toml"
    path.write_text(text)
    return load(path, environ)


def scans(directory: Path, more: str = "", **environ: str) -> GcsDestination:
    place = loaded(directory, SCANS + more, **environ).destinations["scans"]
    assert isinstance(place, GcsDestination)
    return place


def refused(directory: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigurationInvalid) as caught:
        loaded(directory, text, **environ)
    return caught.value.detail


def test_a_destination_that_names_no_provider_is_one_of_s3(tmp_path: Path) -> None:
    found = loaded(tmp_path, '[destinations.old]\nbucket = "acme"\n[destinations.new]\nprovider = "s3"\nbucket = "b-2"')

    assert [type(place) for place in found.destinations.values()] == [S3Destination, S3Destination]


def test_bucket_and_three_service_accounts_are_enough(tmp_path: Path) -> None:
    place = scans(tmp_path)

    assert (place.endpoint, place.iam_endpoint) == (
        "https://storage.googleapis.com",
        "https://iamcredentials.googleapis.com",
    )
    assert place.source == GoogleSourceSettings()
    assert place.proved == ()
    assert place.signing_rate_per_second == 800


def test_everything_can_be_said(tmp_path: Path) -> None:
    more = """
prefix = "in"
endpoint = "http://127.0.0.1:9000"
public_endpoint = "https://up.example"
delegates = ["hub@acme.iam.gserviceaccount.com"]
source = {config_file = "wif.json"}
proved = ["size", "create_only"]
resumable = {threshold_bytes = 8_388_608}
policy = {deadline = "2h", url_ttl = "12h"}
"""
    place = scans(tmp_path, more)

    assert place.source.config_file == "wif.json"
    assert place.delegates == ("hub@acme.iam.gserviceaccount.com",)
    assert place.policy.deadline == timedelta(hours=2)
    destination = destination_of("scans", place)
    assert (destination.name, destination.bucket, destination.prefix) == ("scans", "acme-uploads", "in")
    assert destination.resumable.threshold_bytes == 8_388_608


def test_what_is_on_this_machine_needs_no_tls_and_what_gets_no_token_says_it_by_itself(tmp_path: Path) -> None:
    """As with S3: what a signed URL is worth beyond its host, whoever configures it decides."""
    near = scans(tmp_path, 'iam_endpoint = "http://localhost:8080"\npublic_endpoint = "http://up.lab.example"')

    assert (near.iam_endpoint, near.public_endpoint) == ("http://localhost:8080", "http://up.lab.example")


def test_the_environment_makes_one_alone_and_overrides_the_file(tmp_path: Path) -> None:
    place = scans(
        tmp_path,
        BROKER_DESTINATIONS__SCANS__SOURCE__KEY_FILE="/run/secrets/sa.json",
        BROKER_DESTINATIONS__SCANS__BUCKET="20261121",
        BROKER_DESTINATIONS__SCANS__PROVED='["size"]',
        BROKER_DESTINATIONS__SCANS__SIGNING_RATE_PER_SECOND="12.5",
        BROKER_DESTINATIONS__SCANS__POLICY__URL_TTL="90s",
        BROKER_DESTINATIONS__SCANS__RESUMABLE__THRESHOLD_BYTES="0",
    )

    assert place.source.key_file == "/run/secrets/sa.json"
    assert (place.bucket, place.proved, place.signing_rate_per_second) == ("20261121", ("size",), 12.5)
    assert place.policy.url_ttl == timedelta(seconds=90)
    assert place.resumable.threshold_bytes == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('dialect = "aws"', "dialect"),
        ('proved = ["checksum"]', ".scans.proved"),
        ('source = {key_file = "a", config_file = "b"}', "key_file and config_file exclude each other"),
        ('source = {key = "a"}', ".scans.source"),
        ('endpoint = "ftp://storage"', ".scans.endpoint"),
        ('endpoint = "https://storage.googleapis.com/upload"', ".scans.endpoint"),
        ('iam_endpoint = "https://user@iam.example"', ".scans.iam_endpoint"),
        ('endpoint = "http://storage.example"', "destinations.scans.endpoint: it must begin with https://"),
        ('iam_endpoint = "http://10.0.0.7"', "destinations.scans.iam_endpoint: it must begin with https://"),
        ('delegates = ["hub"]', ".scans.delegates"),
        ("signing_rate_per_second = 0", ".scans.signing_rate_per_second"),
        ('policy = {url_ttl = "13h"}', "destinations.scans.policy.url_ttl: at least 1s and at most 12h"),
        ('policy = {url_ttl = "soon"}', "destinations.scans.policy.url_ttl: a duration is written"),
    ],
)
def test_what_contradicts_or_is_unknown_is_refused_with_its_place(tmp_path: Path, more: str, said: str) -> None:
    sentence = refused(tmp_path, SCANS + more)

    assert said in sentence
    assert "scans" in sentence


@pytest.mark.parametrize("missing", ["bucket", "writer", "reader", "janitor"])
def test_what_nobody_could_guess_must_be_said(tmp_path: Path, missing: str) -> None:
    text = "\n".join(line for line in SCANS.splitlines() if not line.startswith(missing))

    assert f"missing required field `{missing}`" in refused(tmp_path, text)


@pytest.mark.parametrize("account", ["uploads-writer", "a b@acme.example", "a@acme", "x@acme.example\\n", "@a.example"])
def test_a_service_account_is_named_by_its_address(tmp_path: Path, account: str) -> None:
    assert ".scans.writer" in refused(tmp_path, SCANS.replace("uploads-writer@acme.iam.gserviceaccount.com", account))


def test_an_unknown_provider_is_named_with_its_destination(tmp_path: Path) -> None:
    assert ".scans.provider" in refused(tmp_path, SCANS.replace('"gcs"', '"azure"'))


def test_of_one_project_there_is_one_rate(tmp_path: Path) -> None:
    other = SCANS.replace(".scans]", ".more]")

    assert len(loaded(tmp_path, SCANS + other).destinations) == 2
    sentence = refused(tmp_path, f"{SCANS}{other}signing_rate_per_second = 10\n")
    assert sentence == "destinations.more.signing_rate_per_second: 'scans' signs in project 'acme', too, and says 800"
    elsewhere = other.replace("@acme.", "@acme-two.")
    assert len(loaded(tmp_path, f"{SCANS}{elsewhere}signing_rate_per_second = 10\n").destinations) == 2


@pytest.mark.parametrize(
    ("account", "project"),
    [
        ("uploads-writer@acme.iam.gserviceaccount.com", "acme"),
        ("acme@appspot.gserviceaccount.com", "acme"),
        ("123-compute@developer.gserviceaccount.com", "123-compute@developer.gserviceaccount.com"),
    ],
)
def test_whose_quota_an_account_signs_by_is_in_its_address(account: str, project: str) -> None:
    assert project_of(account) == project


def test_documents_for_s3_leave_it_out_and_refuse_to_be_asked_for_it(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SCANS)

    with pytest.raises(ConfigurationInvalid, match="no destination in S3 is configured"):
        print_setup(settings, None, form="json", given={})
    with pytest.raises(ConfigurationInvalid, match=r"destinations\.scans: it is none of S3"):
        terms_of(settings, "scans")
