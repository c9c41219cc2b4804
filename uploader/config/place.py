"""Where the configuration file lies (XDG Base Directory Specification 0.8), and its text as TOML."""

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uploader.config.errors import ConfigRefused

NAME = "uploader.toml"


@dataclass(frozen=True, slots=True)
class Text:
    """:ivar is_private: nobody but its owner can read it, so that a key may stand in it."""

    path: Path
    document: dict[str, Any] = field(repr=False)
    is_private: bool


def usual_place(environment: Mapping[str, str]) -> Path | None:
    """None for a user without a home directory. A relative `$XDG_CONFIG_HOME` does not count."""
    base = Path(environment.get("XDG_CONFIG_HOME", ""))
    try:
        return (base if base.is_absolute() else Path.home() / ".config") / "upload-broker" / NAME
    except RuntimeError:
        return None


def read(path: Path) -> Text:
    """:raises ConfigRefused: it cannot be read, or is no TOML."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            return Text(path, tomllib.load(file), is_private=not stat.S_IMODE(mode) & 0o077)
    except OSError as exc:
        raise ConfigRefused(path, "", exc.strerror or "unreadable") from exc
    except UnicodeDecodeError as exc:
        raise ConfigRefused(path, "", "not UTF-8") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigRefused(path, "", str(exc)) from exc
