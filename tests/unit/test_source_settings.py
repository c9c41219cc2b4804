"""Sources: each kind has settings of its own, and takes none of another's."""

from pathlib import Path

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.settings import S3EventSource, Secret, Settings, SqsSource, load

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
    text = f"[sources.q]\nkind = 'sqs'\n{QUEUE}destinations = ['default']\npollers = 4\n"
    source = loaded(tmp_path, text, {"BROKER_SOURCES__Q__REGION": "eu-central-1"}).sources["q"]
    assert isinstance(source, SqsSource)
    assert (source.destinations, source.pollers, source.region) == (("default",), 4, "eu-central-1")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kind = 'pigeon'\n" + TOKENS, "kind"),
        ("kind = 7\n" + TOKENS, "kind"),
        ("kind = 's3_event'\ndestinations = ['default']\n", "tokens"),
        ("kind = 's3_event'\n" + QUEUE + TOKENS, "queue_url"),
        ("kind = 'sqs'\ndestinations = ['default']\n", "queue_url"),
        ("kind = 'sqs'\n" + QUEUE + TOKENS, "tokens"),
        ("kind = 'sqs'\n" + QUEUE, "destinations"),
        ("kind = 'sqs'\n" + QUEUE + "destinations = ['elsewhere']\n", "sources.a.destinations"),
        ("kind = 'sqs'\n" + QUEUE + "destinations = ['default']\npollers = 0\n", "pollers"),
    ],
)
def test_what_is_missing_or_of_another_kind_is_refused_where_it_stands(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=place):
        loaded(tmp_path, "[sources.a]\n" + text)
