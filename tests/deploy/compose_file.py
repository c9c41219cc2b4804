"""Reads a Compose file as Compose does, as far as ours goes: YAML, interpolation, profiles, durations.

Compose Specification, "Interpolation": `$$`, `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?why}`
and `${NAME?why}`. Forms that ours does not use are refused, not guessed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(
    r"\$(?:(?P<escaped>\$)|(?P<bare>[A-Za-z_]\w*)"
    r"|\{(?P<name>[A-Za-z_]\w*)(?:(?P<rule>:-|-|:\?|\?)(?P<text>[^${}]*))?\}|(?P<wrong>))"
)
_DURATION = re.compile(r"(\d+)(ms|s|m|h)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0}


class Refused(Exception):
    """What Compose would have said instead of starting."""


def interpolate(text: str, env: Mapping[str, str]) -> str:
    """:raises Refused: a variable that must be set is not, or a form that we do not know."""

    def value(found: re.Match[str]) -> str:
        if found["escaped"]:
            return "$"
        if found["wrong"] is not None:
            raise Refused(f"invalid interpolation: {text!r}")
        name, rule = found["bare"] or found["name"], found["rule"] or ""
        given = env.get(name)
        if given or (given is not None and ":" not in rule):
            return given
        if "?" in rule:
            raise Refused(f"required variable {name} is missing a value: {found['text']}")
        return found["text"] or ""

    return _VARIABLE.sub(value, text)


def read(path: Path, env: Mapping[str, str]) -> dict[str, Any]:
    """The file with every value interpolated; names are left alone."""
    document: dict[str, Any] = _interpolated(yaml.safe_load(path.read_text()), env)
    return document


def _interpolated(node: Any, env: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {name: _interpolated(value, env) for name, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, env) for value in node]
    return interpolate(node, env) if isinstance(node, str) else node


def read_env(path: Path) -> dict[str, str]:
    """A `.env` file of plain NAME=VALUE lines."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def active(document: Mapping[str, Any], profiles: set[str]) -> dict[str, Any]:
    """The services that `docker compose up` would start."""
    return {
        name: service
        for name, service in document["services"].items()
        if not service.get("profiles") or profiles & set(service["profiles"])
    }


def seconds(duration: str) -> float:
    parts = _DURATION.findall(duration)
    assert "".join(number + unit for number, unit in parts) == duration, duration
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)


def networks(service: Mapping[str, Any]) -> dict[str, list[str]]:
    """Its networks, each with the further names that it answers to there."""
    said = service.get("networks", ["default"])
    if isinstance(said, list):
        return {name: [] for name in said}
    return {name: (options or {}).get("aliases", []) for name, options in said.items()}


def names_seen_by(name: str, running: Mapping[str, Any]) -> set[str]:
    """What a service can call others: their names and aliases on the networks that it shares with them."""
    mine = networks(running[name]).keys()
    return {
        seen
        for other, service in running.items()
        for network, aliases in networks(service).items()
        if network in mine
        for seen in (other, *aliases)
    }
