"""Fills in what the configuration does not say, wherever its word stands."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec
from msgspec import Struct

from broker.domain.errors import ConfigurationInvalid
from broker.setup.terms import BLANKS

T = TypeVar("T", bound=Struct)


def check_words(given: Mapping[str, str]) -> None:
    """:raises ConfigurationInvalid: a word that stands for nothing."""
    unknown = sorted(given.keys() - BLANKS.keys())
    if unknown:
        raise ConfigurationInvalid(f"--set {unknown[0]}: only {', '.join(BLANKS)} can be filled in")


def filled(documents: T, given: Mapping[str, str]) -> T:
    """Each word wherever it stands, alone or within a text."""
    text = msgspec.json.encode(documents)
    for word, value in given.items():
        text = text.replace(word.encode(), msgspec.json.encode(value)[1:-1])
    return msgspec.json.decode(text, type=type(documents))
