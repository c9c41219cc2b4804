"""Settings from environment variables: `BROKER_DESTINATIONS__EU__REGION` is `destinations.eu.region`."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct, inspect

from broker.domain.errors import ConfigurationInvalid

PREFIX = "BROKER_"

# Names in the environment that are no settings: those of the broker's clients, where to find the file, and what
# Kubernetes adds to every container beside a Service named `broker` ("Service", environment variables).
_NOT_SETTINGS = re.compile(
    r"BROKER_(URL|API_KEY|CONSUMER_KEY|CONFIG|SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_[A-Z]+(_[A-Z]+)?)?)"
)
_NUMBERS = (inspect.IntType, inspect.FloatType)


def override(raw: dict[str, Any], environ: Mapping[str, str], settings: type[Struct]) -> None:
    """Writes over `raw` what the environment says, in the shapes that `settings` has.

    :raises ConfigurationInvalid: a name nests under a value.
    """
    for name, text in sorted(environ.items()):
        if not name.startswith(PREFIX) or _NOT_SETTINGS.fullmatch(name):
            continue
        *parents, last = path = name.removeprefix(PREFIX).lower().split("__")
        table = raw
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ConfigurationInvalid(f"{name} nests under a value that is no table")
        table[last] = _value(text, path, settings)


def _value(text: str, path: Sequence[str], settings: type[Struct]) -> Any:
    """JSON where it is JSON (numbers, booleans, lists, tables), text where it is not – or where digits are a text: the
    number of an account."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return text if isinstance(value, int | float) and _takes_text_only(path, settings) else value


def _takes_text_only(path: Sequence[str], settings: type[Struct]) -> bool:
    kinds: list[inspect.Type] = [inspect.type_info(settings)]
    for name in path:
        kinds = [each for kind in kinds for inner in _inside(kind, name) for each in _one_of(inner)]
    has_text = any(isinstance(each, inspect.StrType) for each in kinds)
    return has_text and not any(isinstance(each, _NUMBERS) for each in kinds)


def _inside(kind: inspect.Type, name: str) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.StructType):
        yield from (each.type for each in kind.fields if each.encode_name == name)
    elif isinstance(kind, inspect.DictType):
        yield kind.value_type


def _one_of(kind: inspect.Type) -> Sequence[inspect.Type]:
    return kind.types if isinstance(kind, inspect.UnionType) else (kind,)
