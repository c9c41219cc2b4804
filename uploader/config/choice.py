"""What is in force for one command: the configuration file beside the environment.

A flag comes first, then the environment, then the file. A profile that was named on the command line is a flag: its
broker and its key count although the environment has others, so that a forgotten variable sends nothing elsewhere.
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from uploader.config.document import Table, parse
from uploader.config.errors import ConfigRefused
from uploader.config.keys import Key, KeyAbsent, KeyFile, KeyVariable
from uploader.config.place import read

KEY = KeyVariable("BROKER_API_KEY")
NO_KEY = "no key: set BROKER_API_KEY, give --key-file, or name one in the configuration file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    :ivar path: of the configuration file; None without one.
    :ivar is_asked: the profile was named on the command line.
    """

    path: Path | None = None
    profile: str | None = None
    is_asked: bool = False
    table: Table = field(default_factory=Table)

    @classmethod
    def load(
        cls, path: Path, profile: str | None, *, is_asked: bool, commands: Mapping[str, Callable[[], frozenset[str]]]
    ) -> Self:
        """:raises ConfigRefused: the file is not one, or has no such profile."""
        document = parse(read(path), commands)
        name = profile or document.profile
        return cls(path=path, profile=name, is_asked=is_asked, table=document.table(name))

    @property
    def broker_first(self) -> str | None:
        """A broker that counts more than the environment's."""
        return self.table.broker if self.is_asked else None

    def key(self, broker: str, key_file: Path | None, environment: Mapping[str, str]) -> Key:
        """
        :param key_file: a flag's.
        :raises KeyAbsent: there is none, or none for this broker.
        """
        if key_file is not None:
            return KeyFile(key_file).read(environment)
        is_first = self.is_asked and self.table.key is not None
        if environment.get(KEY.name, "").strip() and not is_first:
            return KEY.read(environment)
        if self.table.key is None:
            raise KeyAbsent(NO_KEY)
        if self.table.broker is None or _bare(self.table.broker) != _bare(broker):
            beside = unsecret(self.table.broker or "no broker")
            raise KeyAbsent(
                f"no key for {unsecret(broker)}: {self.path} has one for {beside}, and it goes nowhere else"
            )
        return self.table.key.read(environment)


def absent(path: Path | None, profile: str) -> ConfigRefused:
    """Somebody asks for a profile where there is no file."""
    return ConfigRefused(path or Path("~"), "", f"no configuration file, so no profile {profile!r}")


def _bare(broker: str) -> str:
    return broker.rstrip("/")


def unsecret(broker: str) -> str:
    """A URL as it may be shown: a broker's has no password, which is not yet known of this one."""
    return re.sub(r"//[^/]*@", "//***@", broker)


def exists(path: Path) -> bool:
    """Also if it is there and cannot be read, which has to be said."""
    return os.path.lexists(path)
