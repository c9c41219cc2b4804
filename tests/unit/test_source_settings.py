"""Sources: each kind has settings of its own, and takes none of another's."""

from datetime import timedelta
from pathlib import Path

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.settings import (
    EventBridgeSource,
    GoogleSourceSettings,
    PubsubPushSource,
    PubsubSource,
    S3EventSource,
    Secret,
    Settings,
    SnsSource,
    SqsSource,
    load,
)
from broker.wiring.providers import doors_of
from tests.clock import FrozenClock
from tests.unit.doors.sns_world import StandInPages

BUCKET = "\n[destinations.default]\nbucket = 'acme-uploads'\n"


def loaded(tmp_path: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "broker.toml"
    file.write_text(text + BUCKET)
    return load(file, environ or {})


TOKENS = "tokens = [{env='T'}]\ndestinations = ['default']\n"
QUEUE = "queue_url = 'https://sqs.eu-central-1.amazonaws.com/123456789012/uploads'\n"


@pytest.mark.parametrize("kind", ["", "kind = 's3_event'\n"])
def test_a_source_of_no_kind_is_a_store_that_calls(tmp_path: Path, kind: str) -> None:
    source = loaded(tmp_path, f"[sources.store]\n{kind}{TOKENS}").sources["store"]
    assert source == S3EventSource(destinations=("default",), tokens=(Secret(env="T"),))


def test_a_queue_has_its_own_settings(tmp_path: Path) -> None:
    text = f"[sources.q]\nkind = 'sqs'\n{QUEUE}destinations = ['default']\nreceivers = 4\n"
    source = loaded(tmp_path, text, {"BROKER_SOURCES__Q__REGION": "eu-central-1"}).sources["q"]
    assert isinstance(source, SqsSource)
    assert (source.destinations, source.receivers, source.region) == (("default",), 4, "eu-central-1")


TOPIC = "topic_arns = ['arn:aws:sns:eu-central-1:123456789012:uploads']\ndestinations = ['default']\n"


def test_a_topic_has_its_own_settings(tmp_path: Path) -> None:
    source = loaded(tmp_path, f"[sources.t]\nkind = 'sns'\n{TOPIC}signature_versions = ['2']\n").sources["t"]
    assert isinstance(source, SnsSource)
    assert source.signature_versions == {"2"}
    assert loaded(tmp_path, f"[sources.t]\nkind = 'sns'\n{TOPIC}").sources["t"] == SnsSource(
        topic_arns=source.topic_arns, destinations=("default",), signature_versions=frozenset({"1", "2"})
    )


def test_a_bus_has_its_own_settings(tmp_path: Path) -> None:
    source = loaded(tmp_path, f"[sources.b]\nkind = 'eventbridge'\n{TOKENS}key_header = 'X-Key'\n").sources["b"]
    assert source == EventBridgeSource(destinations=("default",), tokens=(Secret(env="T"),), key_header="X-Key")


PUSH = (
    "kind = 'pubsub_push'\naudience = 'https://broker.example'\ndestinations = ['default']\n"
    "service_accounts = ['pubsub-push@acme.iam.gserviceaccount.com']\n"
)
PULL = "kind = 'pubsub'\nsubscription = 'projects/acme/subscriptions/uploads'\ndestinations = ['default']\n"


def test_a_subscription_that_calls_has_its_own_settings(tmp_path: Path) -> None:
    given = f"[sources.p]\n{PUSH}subscriptions = ['projects/example.com:acme/subscriptions/a+b%c']\n"
    assert loaded(tmp_path, given).sources["p"] == PubsubPushSource(
        destinations=("default",),
        audience="https://broker.example",
        service_accounts=("pubsub-push@acme.iam.gserviceaccount.com",),
        subscriptions=("projects/example.com:acme/subscriptions/a+b%c",),
        certs_url="https://www.googleapis.com/oauth2/v1/certs",
    )


def test_a_subscription_that_is_asked_has_its_own_settings(tmp_path: Path) -> None:
    given = f"[sources.p]\n{PULL}source = {{key_file = '/run/secrets/sa.json'}}\nack_deadline = '2m'\n"
    assert loaded(tmp_path, given).sources["p"] == PubsubSource(
        destinations=("default",),
        subscription="projects/acme/subscriptions/uploads",
        endpoint="https://pubsub.googleapis.com",
        source=GoogleSourceSettings(key_file="/run/secrets/sa.json"),
        ack_deadline=timedelta(minutes=2),
    )


@pytest.mark.parametrize("url", ["http://127.0.0.1:8085", "http://localhost:8085", "https://pubsub.internal"])
def test_without_tls_google_is_on_this_machine(tmp_path: Path, url: str) -> None:
    loaded(tmp_path, f"[sources.a]\n{PUSH}certs_url = '{url}/certs'\n[sources.b]\n{PULL}endpoint = '{url}'\n")


def test_each_kind_that_comes_to_us_has_its_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T", "the-token")
    text = (
        f"[sources.s]\n{TOKENS}[sources.t]\nkind = 'sns'\n{TOPIC}[sources.b]\nkind = 'eventbridge'\n{TOKENS}"
        f"[sources.q]\nkind = 'sqs'\n{QUEUE}destinations = ['default']\n[sources.p]\n{PUSH}[sources.l]\n{PULL}"
    )
    doors = doors_of(loaded(tmp_path, text).sources, StandInPages(), FrozenClock())
    assert {name: type(door).__name__ for name, door in doors.items()} == {
        "s": "S3EventDoor",
        "t": "SnsDoor",
        "b": "EventBridgeDoor",
        "p": "PubsubPushDoor",
    }
    assert all(door.destinations == ("default",) for door in doors.values())


def test_a_topic_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    text = "[sources.t]\nkind = 'sns'\ntopic_arns = ['arn:aws:sqs:eu-central-1:123456789012:uploads']\n"
    settings = loaded(tmp_path, text + "destinations = ['default']\n")
    with pytest.raises(ConfigurationInvalid, match="is no topic"):
        doors_of(settings.sources, StandInPages(), FrozenClock())


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kind = 'sns'\ndestinations = ['default']\n", "topic_arns"),
        ("kind = 'sns'\ntopic_arns = []\ndestinations = ['default']\n", "topic_arns"),
        ("kind = 'sns'\n" + TOPIC + "signature_versions = ['3']\n", "signature_versions"),
        ("kind = 'sns'\n" + TOPIC + "signature_versions = []\n", "signature_versions"),
        ("kind = 'sns'\n" + TOPIC + "tokens = [{env='T'}]\n", "tokens"),
        ("kind = 'eventbridge'\ndestinations = ['default']\n", "tokens"),
        ("kind = 'eventbridge'\n" + TOKENS + "key_header = 'two words'\n", "key_header"),
        ("kind = 'pigeon'\n" + TOKENS, "kind"),
        ("kind = 7\n" + TOKENS, "kind"),
        ("kind = 's3_event'\ndestinations = ['default']\n", "tokens"),
        ("kind = 's3_event'\n" + QUEUE + TOKENS, "queue_url"),
        ("kind = 'sqs'\ndestinations = ['default']\n", "queue_url"),
        ("kind = 'sqs'\n" + QUEUE + TOKENS, "tokens"),
        ("kind = 'sqs'\n" + QUEUE, "destinations"),
        ("kind = 'sqs'\n" + QUEUE + "destinations = ['elsewhere']\n", "sources.a.destinations"),
        ("kind = 'sqs'\n" + QUEUE + "destinations = ['default']\nreceivers = 0\n", "receivers"),
        (
            "kind = 'sqs'\n" + QUEUE + "destinations = ['default']\nvisibility = '3s'\n",
            "sources.a.visibility: at least 4s",
        ),
        ("kind = 'sqs'\n" + QUEUE + "destinations = ['default']\nvisibility = '13h'\n", "at most 12h"),
        (
            "kind = 'sqs'\n" + QUEUE + "destinations = ['default']\nvisibility = 'long'\n",
            "sources.a.visibility: a duration",
        ),
        ("kind = 'sqs'\n" + QUEUE + "destinations = ['default']\non_poison = 'eat'\n", "on_poison"),
        (PUSH.replace("audience", "audiences"), "audience"),
        (PUSH.replace("https://broker.example", ""), "audience"),
        (PUSH.replace("['pubsub-push@acme.iam.gserviceaccount.com']", "[]"), "service_accounts"),
        (PUSH.replace("pubsub-push@", "*@"), "service_accounts"),
        (PUSH + "subscriptions = ['uploads']\n", "subscriptions"),
        (PUSH + "certs_url = 'http://www.googleapis.com/oauth2/v1/certs'\n", "sources.a.certs_url: .* https://"),
        (PUSH + "certs_url = 'https://me:pw@127.0.0.1/certs'\n", "sources.a.certs_url"),
        (PUSH + "certs_url = 'https://[/'\n", "sources.a.certs_url"),
        (PUSH + "tokens = [{env='T'}]\n", "tokens"),
        (PULL.replace("projects/acme/subscriptions/uploads", "projects/acme/topics/uploads"), "subscription"),
        (PULL.replace("subscriptions/uploads", "subscriptions/a/b"), "subscription"),
        (PULL + "endpoint = 'http://pubsub.googleapis.com'\n", "sources.a.endpoint: .* https://"),
        (PULL + "endpoint = 'https://pubsub.googleapis.com/v1'\n", "endpoint"),
        (PULL + "ack_deadline = '9s'\n", "sources.a.ack_deadline: at least 10s"),
        (PULL + "ack_deadline = '11m'\n", "at most 10m"),
        (PULL + "visibility = '1m'\n", "visibility"),
        (PULL + "receivers = 65\n", "receivers"),
        (PULL + "source = {key_file = 'a', config_file = 'b'}\n", "source"),
    ],
)
def test_what_is_missing_or_of_another_kind_is_refused_where_it_stands(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=place):
        loaded(tmp_path, "[sources.a]\n" + text)


def test_two_sources_never_ask_one_queue(tmp_path: Path) -> None:
    """Each would delete what the other's destinations were to hear of."""
    one = f"kind = 'sqs'\n{QUEUE}destinations = ['default']\n"
    for each in (one, PULL):
        with pytest.raises(ConfigurationInvalid, match="'a' asks that queue, too"):
            loaded(tmp_path, f"[sources.a]\n{each}[sources.b]\n{each}")


def test_durations_of_a_queue_and_its_role_are_written_as_everywhere(tmp_path: Path) -> None:
    role = "{role_arn = 'arn:aws:iam::111122223333:role/poll', duration = '20m'}"
    text = f"kind = 'sqs'\n{QUEUE}destinations = ['default']\nvisibility = '5m'\ncredentials = {role}\n"
    source = loaded(tmp_path, f"[sources.q]\n{text}").sources["q"]
    assert isinstance(source, SqsSource)
    assert (source.visibility, source.credentials.duration) == (timedelta(minutes=5), timedelta(minutes=20))
