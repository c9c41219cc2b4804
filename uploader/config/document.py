"""A configuration file as values: what stands at its top, and its profiles.

    broker = "https://uploads.example.com"
    key_file = "key"                   # beside this file; or key = { env = "NAME" }; or the key, if the file is private

    [put]                              # options of a command, by their long names
    exclude = ["*.tmp", ".git/"]

    [profiles.lab]                     # uploader --profile lab
    broker = "http://127.0.0.1:8000"
    key = { env = "LAB_KEY" }

A profile says what differs from the top. A key belongs to the broker that it stands beside: a profile that names a
broker has no key but its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn, Self

from uploader.config.errors import ConfigRefused
from uploader.config.keys import KeyFile, KeySource, KeyText, KeyVariable
from uploader.config.place import Text

Options = Mapping[str, Mapping[str, Any]]
"""by command; as they stand in the file"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """:ivar where: its name in the file, with a dot behind it; empty at the top."""

    where: str = ""
    broker: str | None = None
    key: KeySource | None = None
    options: Options = field(default_factory=dict)

    def above(self, base: Self) -> Self:
        """This one, and what it does not say from another."""
        every = {*base.options, *self.options}
        return replace(
            self,
            broker=self.broker or base.broker,
            key=self.key or (None if self.broker else base.key),
            options={name: {**base.options.get(name, {}), **self.options.get(name, {})} for name in every},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """:ivar profile: whose profile counts where nobody names one."""

    path: Path
    top: Table
    profiles: Mapping[str, Table]
    profile: str | None

    def table(self, name: str | None) -> Table:
        """
        :param name: of a profile; None for the file's own choice.
        :raises ConfigRefused: there is no such profile.
        """
        chosen = name or self.profile
        if chosen is None:
            return self.top
        if chosen not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise ConfigRefused(self.path, "profiles", f"there is no profile {chosen!r}, but {known}")
        return self.profiles[chosen].above(self.top)


def parse(text: Text, commands: Mapping[str, Callable[[], frozenset[str]]]) -> Document:
    """
    :param commands: the options that a file may name, by command.
    :raises ConfigRefused: a key that nobody knows, or a value of another type.
    """
    reader = _Reader(text, commands)
    own = dict(text.document)
    profile = reader.text("profile", own.pop("profile")) if "profile" in own else None
    tables = reader.mapping("profiles", own.pop("profiles", {}))
    profiles = {
        name: reader.table(f"profiles.{name}.", reader.mapping(f"profiles.{name}", content))
        for name, content in tables.items()
    }
    return Document(
        path=text.path, top=reader.table("", own, "profile", "profiles"), profiles=profiles, profile=profile
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    source: Text
    commands: Mapping[str, Callable[[], frozenset[str]]]

    def table(self, where: str, content: Mapping[str, Any], *others: str) -> Table:
        """:param others: names that are known here, too, for whoever has misspelled one."""
        options: dict[str, Mapping[str, Any]] = {}
        for name, value in content.items():
            if name in self.commands:
                options[name] = self.options(f"{where}{name}", self.mapping(where + name, value))
            elif name not in {"broker", "key", "key_file"}:
                self.unknown(where + name, name, ["broker", "key", "key_file", *self.commands, *others])
        broker = self.text(f"{where}broker", content["broker"]) if "broker" in content else None
        return Table(where=where, broker=broker, key=self.key(where, content), options=options)

    def options(self, where: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        known = self.commands[where.rpartition(".")[2]]() if content else frozenset()
        for name in content:
            if name in {"broker", "key", "key_file"}:
                self.refuse(f"{where}.{name}", "stands at the top of the file or of a profile: it is the same for all")
            if name not in known:
                self.unknown(f"{where}.{name}", name, known)
        return content

    def key(self, where: str, content: Mapping[str, Any]) -> KeySource | None:
        if "key" in content and "key_file" in content:
            self.refuse(f"{where}key", "key or key_file, not both")
        if "key_file" in content:
            return KeyFile(self.beside(self.text(f"{where}key_file", content["key_file"])))
        value = content.get("key")
        if isinstance(value, dict):
            if value.keys() != {"env"}:
                self.refuse(f"{where}key", 'is { env = "NAME" }, or the key itself')
            return KeyVariable(self.text(f"{where}key.env", value["env"]))
        if value is None:
            return None
        secret = self.text(f"{where}key", value)
        if not self.source.is_private:
            self.refuse(f"{where}key", "others can read this file: chmod 600, or name a key_file or { env = … }")
        return KeyText(secret, self.source.path)

    def beside(self, name: str) -> Path:
        """A path as the file means it."""
        try:
            return self.source.path.absolute().parent / Path(name).expanduser()
        except RuntimeError:
            self.refuse("key_file", "begins with ~, and there is no home directory")

    def mapping(self, where: str, value: object) -> Mapping[str, Any]:
        return value if isinstance(value, dict) else self.refuse(where, f"is a table, not {kind(value)}")

    def text(self, where: str, value: object) -> str:
        if not isinstance(value, str):
            self.refuse(where, f"is text, not {kind(value)}")
        return value or self.refuse(where, "is empty")

    def unknown(self, where: str, name: str, known: list[str] | frozenset[str]) -> NoReturn:
        near = get_close_matches(name.replace("-", "_"), known, 1)
        self.refuse(where, "nobody knows this key" + (f"; {near[0]}?" if near else ""))

    def refuse(self, where: str, why: str) -> NoReturn:
        raise ConfigRefused(self.source.path, where, why)


def kind(value: object) -> str:
    """Its type in TOML's words; the value itself may be a secret."""
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or time")
