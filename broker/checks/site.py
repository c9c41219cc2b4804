"""What is checked, as far as every provider has it: a destination's adapters, and how its refusals are explained."""

from collections.abc import Mapping
from typing import Protocol

from broker.checks.findings import Finding
from broker.checks.needs import Need
from broker.ports import Bucket


class Site(Protocol):
    """A destination on its store. What only one provider has stands in that provider's own site."""

    @property
    def bucket(self) -> Bucket: ...

    @property
    def name(self) -> str: ...

    @property
    def dialect_name(self) -> str: ...

    @property
    def origins(self) -> tuple[str, ...]:
        """Whose pages send."""

    @property
    def setup(self) -> str:
        """The command that prints how the destination is set up."""

    @property
    def put(self) -> Need: ...

    @property
    def head(self) -> Need: ...

    @property
    def capsule_header(self) -> str: ...

    @property
    def condition_header(self) -> str:
        """By which a PUT creates and never overwrites."""

    @property
    def is_create_only(self) -> bool:
        """Whether the store promises that."""

    @property
    def origin(self) -> str:
        """Where clients send to."""

    @property
    def has_one_address(self) -> bool:
        """Whether consumers read where clients send to."""

    @property
    def checksum_headers(self) -> Mapping[str, str]:
        """By algorithm: which the store verifies, and by which header."""

    def moved(self, url: str, key: str, to: str) -> str:
        """The URL of `key`, leading to another."""

    def explained(self, need: Need | None, status: int, code: str) -> Finding:
        """A refusal that a step did not expect."""

    def explained_text(self, need: Need | None, detail: str) -> Finding:
        """The same for the text of an error that an adapter raised."""

    async def delete_blindly(self, key: str) -> bool:
        """Without a look at what is there. True once nothing is."""
