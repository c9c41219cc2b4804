"""`setup s3 --print` from a shell: documents of destinations as JSON or Terraform, with what the operator fills in."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from broker.domain.errors import ConfigurationInvalid
from broker.settings import S3Destination, Settings
from broker.setup.documents import Documents, documents_of
from broker.setup.filling import check_words, filled
from broker.setup.terms import Terms
from broker.setup.terraform import terraform
from broker.wiring import terms_of


def print_setup(
    settings: Settings, destination: str | None, *, form: Literal["json", "terraform"], given: Mapping[str, str]
) -> str:
    """What an operator pastes, by destination.

    :param given: what the configuration does not say, by the word that stands for it (`BLANKS`).
    :raises ConfigurationInvalid: there is no such destination, or no such word.
    """
    check_words(given)
    in_s3 = [name for name, place in settings.destinations.items() if isinstance(place, S3Destination)]
    names = in_s3 if destination is None else [destination]
    if not names:
        raise ConfigurationInvalid("no destination in S3 is configured")
    terms = {name: terms_of(settings, name) for name in names}
    documents = {name: _shared(filled(documents_of(each), given), each, terms) for name, each in terms.items()}
    if form == "terraform":
        return terraform({name: (terms[name], documents[name]) for name in names})
    return msgspec.json.format(msgspec.json.encode(documents), indent=2).decode()


def _shared(documents: Documents, terms: Terms, others: Mapping[str, Terms]) -> Documents:
    """What is said of a bucket replaces what was said of it before: of two prefixes only one would be heard."""
    also = sorted(name for name, each in others.items() if each.bucket == terms.bucket and name != terms.name)
    elsewhere = sorted(name for name, each in others.items() if each.account != terms.account)
    notes = list(documents.notes)
    if also:
        names = ", ".join(also)
        notes.append(f"{names} is in the same bucket: join policy, CORS, lifecycle and notification into one of each.")
    notes += [f"{name} is in another account: print each by itself, and apply it there." for name in elsewhere]
    return msgspec.structs.replace(documents, notes=tuple(notes))
