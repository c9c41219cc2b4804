"""`setup gcs --print` and `--apply` from a shell."""

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from broker.domain.errors import ConfigurationInvalid
from broker.settings import GcsDestination, Settings
from broker.setup.filling import check_words, filled
from broker.setup.gcs.documents import GcsDocuments, documents_of
from broker.setup.gcs.gcloud import gcloud
from broker.setup.gcs.terms import GcsTerms
from broker.setup.gcs.terraform import terraform
from broker.wiring import gcs_terms_of

Form = Literal["json", "terraform", "gcloud"]


def print_setup(settings: Settings, destination: str | None, *, form: Form, given: Mapping[str, str]) -> str:
    """What an operator reads, pastes or runs, for one destination or all.

    :param given: what the configuration does not say, by the word that stands for it (`BLANKS`).
    :raises ConfigurationInvalid: there is no such destination, or no such word.
    """
    setups = _setups(settings, destination, given)
    if form == "terraform":
        return terraform(setups)
    if form == "gcloud":
        return gcloud(setups)
    documents = {name: each for name, (_, each) in setups.items()}
    return msgspec.json.format(msgspec.json.encode(documents), indent=2).decode()


def apply_setup(settings: Settings, destination: str | None, *, given: Mapping[str, str]) -> Iterator[str]:
    """A line for each thing, once it is done.

    :raises ConfigurationInvalid: also when something is not known, or the extra `gcs` is not installed.
    :raises StoreRefused:
    """
    try:
        from broker.setup.gcs import applying  # noqa: PLC0415 - of the extra
    except ImportError as exc:
        raise ConfigurationInvalid(f"setup gcs --apply needs upload-broker[gcs] ({exc.name} is missing)") from exc
    for name, (terms, documents) in _setups(settings, destination, given).items():
        place = settings.destinations[name]
        client = applying.open_client(place.endpoint or "")
        for step in applying.apply(client, terms.bucket, documents):
            yield f"{name}: {step.what} {step.done.value}"


def _setups(
    settings: Settings, destination: str | None, given: Mapping[str, str]
) -> dict[str, tuple[GcsTerms, GcsDocuments]]:
    check_words(given)
    in_gcs = [name for name, place in settings.destinations.items() if isinstance(place, GcsDestination)]
    names = in_gcs if destination is None else [destination]
    if not names:
        raise ConfigurationInvalid("no destination in Google Cloud Storage is configured")
    terms = {name: gcs_terms_of(settings, name) for name in names}
    return {name: (each, filled(documents_of(each), given)) for name, each in terms.items()}
