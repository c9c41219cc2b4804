"""From the file and the environment to settings that were checked."""

import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from broker.domain.errors import ConfigurationInvalid
from broker.domain.policy import Policy
from broker.settings.checks import check
from broker.settings.credentials import CredentialSettings
from broker.settings.durations import parse_duration
from broker.settings.environment import override
from broker.settings.sources import PubsubSource, SqsSource
from broker.settings.tree import JobSettings, Settings
from broker.settings.webhooks import WebhookSettings

_TABLE_OF_NAMES = re.compile(r"`\$\.([a-z_]+)\[\.\.\.\]")


def load(path: Path | None, environ: Mapping[str, str], *, default_path: Path = Path("broker.toml")) -> Settings:
    """File, then environment over it.

    :param path: named by the user, so it must exist; None means `default_path`, if that exists.
    :raises ConfigurationInvalid: one sentence, naming the place.
    """
    raw = _read(path or (default_path if default_path.exists() else None))
    override(raw, environ, Settings)
    _name_kinds(raw)
    _parse_durations(raw)
    try:
        settings = msgspec.convert(raw, Settings)
    except msgspec.ValidationError as exc:
        raise ConfigurationInvalid(f"configuration: {_with_names(str(exc), raw)}") from exc
    check(settings)
    return settings


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as exc:
        raise ConfigurationInvalid(f"{path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationInvalid(f"{path}: {exc}") from exc


def _with_names(sentence: str, raw: Mapping[str, Any]) -> str:
    """msgspec says `$.destinations[...]`: which of them it is, is found by taking one at a time."""
    found = _TABLE_OF_NAMES.search(sentence)
    if found is None:
        return sentence
    table: str = found[1]
    for name, entry in raw[table].items():
        try:
            msgspec.convert({table: {name: entry}}, Settings)
        except msgspec.ValidationError as exc:
            return str(exc).replace("[...]", f".{name}", 1)
    return sentence


def _name_kinds(raw: dict[str, Any]) -> None:
    """A source or a destination that says no kind is what there was before there were kinds."""
    for table, field, first in (("sources", "kind", "s3_event"), ("destinations", "provider", "s3")):
        places = raw.get(table)
        for place in places.values() if isinstance(places, dict) else ():
            if isinstance(place, dict):
                place.setdefault(field, first)


def _parse_durations(raw: dict[str, Any]) -> None:
    _parse_fields(raw.get("jobs"), JobSettings, "jobs")
    sources = raw.get("sources")
    for name, source in sources.items() if isinstance(sources, dict) else ():
        if isinstance(source, dict):
            for kind in (SqsSource, PubsubSource):
                _parse_fields(source, kind, f"sources.{name}")
            _parse_credential(source.get("credentials"), f"sources.{name}.credentials")
    webhooks = raw.get("webhooks")
    for name, webhook in webhooks.items() if isinstance(webhooks, dict) else ():
        _parse_fields(webhook, WebhookSettings, f"webhooks.{name}")
    destinations = raw.get("destinations")
    for place, destination in destinations.items() if isinstance(destinations, dict) else ():
        if isinstance(destination, dict):
            _parse_fields(destination.get("policy"), Policy, f"destinations.{place}.policy")
            rights = destination.get("credentials")
            for right, credential in rights.items() if isinstance(rights, dict) else ():
                _parse_credential(credential, f"destinations.{place}.credentials.{right}")


def _parse_credential(table: Any, place: str) -> None:
    """A credential and the source that it is made from, and its source."""
    while isinstance(table, dict):
        _parse_fields(table, CredentialSettings, place)
        table, place = table.get("source"), f"{place}.source"


def _parse_fields(table: Any, kind: type[Struct], place: str) -> None:
    """Turns "15m" into what msgspec reads as a duration, in the fields that are one."""
    if not isinstance(table, dict):
        return
    names = {field.name for field in msgspec.structs.fields(kind) if field.type is timedelta}
    for name in names & table.keys():
        table[name] = parse_duration(str(table[name]), f"{place}.{name}")
