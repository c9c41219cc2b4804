"""Processors: marked functions, and which of them takes a job.

`@processor` writes its terms onto the function and returns it unchanged; nothing is registered anywhere. Whoever runs a
module collects what is marked in it.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar

from consumer.errors import ConfigurationInvalid, NoProcessor

_MARK = "__upload_processor__"

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a function takes, and for how long it may run."""

    patterns: tuple[str, ...]
    timeout_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A function with its terms, and the name under which another process finds it."""

    module: str
    name: str
    function: Callable[..., Any]
    terms: Terms

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)


@dataclass(frozen=True, slots=True)
class Processors:
    """Which processor takes which content type: the exact one, else `image/*`, else `*`."""

    by_pattern: dict[str, Processor]

    def match(self, content_type: str) -> Processor:
        """
        :raises NoProcessor: nothing takes this type.
        """
        essence = content_type.partition(";")[0].strip().lower()
        family = f"{essence.partition('/')[0]}/*"
        for pattern in (essence, family, "*"):
            found = self.by_pattern.get(pattern)
            if found is not None:
                return found
        raise NoProcessor(f"no processor takes {essence}")

    @property
    def needs_pool(self) -> bool:
        return any(not found.is_async for found in self.by_pattern.values())


def processor(*patterns: str, timeout: float | None = 600) -> Callable[[Function], Function]:
    """Marks a function `(job, reader) -> result` as the processor of some content types.

    :param patterns: `text/csv`, `image/*` or `*`.
    :param timeout: seconds for reading and processing together; None is for ever.
    """
    terms = Terms(patterns=tuple(_normal(pattern) for pattern in patterns), timeout_seconds=timeout)
    if not patterns:
        raise ConfigurationInvalid("a processor names at least one content type")

    def mark(function: Function) -> Function:
        setattr(function, _MARK, terms)
        return function

    return mark


def collect(module: ModuleType) -> list[Processor]:
    """Every marked function that is a name of `module`, imported ones too."""
    return [
        Processor(module=module.__name__, name=name, function=value, terms=terms)
        for name, value in vars(module).items()
        if callable(value) and isinstance(terms := getattr(value, _MARK, None), Terms)
    ]


def arrange(found: Iterable[Processor]) -> Processors:
    """
    :raises ConfigurationInvalid: two functions want the same pattern.
    """
    by_pattern: dict[str, Processor] = {}
    for candidate in found:
        for pattern in candidate.terms.patterns:
            rival = by_pattern.setdefault(pattern, candidate)
            if rival.function is not candidate.function:
                raise ConfigurationInvalid(f"{rival.name} and {candidate.name} both take {pattern}")
    return Processors(by_pattern)


def _normal(pattern: str) -> str:
    normal = pattern.strip().lower()
    if normal == "*/*":
        return "*"
    kind, slash, rest = normal.partition("/")
    is_whole = normal == "*" or (slash and kind and rest and "*" not in kind and (rest == "*" or "*" not in rest))
    if not is_whole or ";" in normal:
        raise ConfigurationInvalid(f"{pattern!r} is not a content type, `type/*` or `*`")
    return normal
