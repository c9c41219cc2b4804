"""What the demo tries on a provider, to show that nothing comes of it."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

from broker.dev.stack import Stack
from broker.dev.telling import Answer


class Tricks(Protocol):
    """One provider's.

    `stand_ins` is what stands in for it, `forgery` what is wrong with a forged event, `flags` how the main file is
    sent, `has_sessions` whether an upload can be taken up again by a URI of the store's.
    """

    stand_ins: ClassVar[str]
    forgery: ClassVar[str]
    flags: ClassVar[Sequence[str]]
    has_sessions: ClassVar[bool]
    refused: ClassVar[frozenset[int]]
    """the statuses of what is tampered with"""

    def __init__(self, stack: Stack) -> None: ...

    def tampered(self, request: Any) -> Mapping[str, tuple[str, Mapping[str, str], bytes]]:
        """URL, headers and body of what a signed PUT of `hello` to `tampered.txt` must not be turned into, by name."""
        ...

    def forged(self, key: str) -> Answer:
        """Tell the broker of an object without being who may."""
        ...

    def authentic(self, key: str) -> Answer:
        """Tell the broker of an object as the store does; whether it is there is another matter."""
        ...
