"""How those who watch this process see that it works: a file as old as the last good answer of the broker.

A worker listens on no port – what parses hostile bytes should offer none. It asks for jobs every few seconds and renews
each lease it holds, so a file that has not been touched for a minute means that it is stuck, or that the broker is away
or refuses its key; a health check compares ages (`find FILE -newermt '60 seconds ago'`).
"""

import contextlib
from collections.abc import Callable
from pathlib import Path

from consumer.errors import ConfigurationInvalid


def silent() -> None:
    """Nobody watches."""


def toucher(path: Path) -> Callable[[], None]:
    """What to call at each sign of life. A file that an earlier worker left is no sign of this one's.

    :raises ConfigurationInvalid: there is no writing there.
    """
    try:
        path.touch()
        path.unlink()
    except OSError as exc:
        raise ConfigurationInvalid(f"the alive file {path} cannot be written: {exc.strerror}") from exc

    def touch() -> None:
        with contextlib.suppress(OSError):  # a full disk shows in the file's age; it must not cost a job
            path.touch()

    return touch
