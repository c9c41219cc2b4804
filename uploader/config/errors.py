"""What can be wrong with the configuration file. No text in here holds a value that may be a key."""

from pathlib import Path


class ConfigRefused(Exception):
    """The configuration file is not one."""

    def __init__(self, path: Path, where: str, why: str) -> None:
        """:param where: the key as a person finds it in the file, `profiles.work.put.jobs`; or nothing."""
        super().__init__(f"{path}: {where}: {why}" if where else f"{path}: {why}")
