"""What a step uses: a right, the permissions that it takes, and whether they are on the bucket or its objects."""

from dataclasses import dataclass
from typing import Literal

Right = Literal["write", "read", "remove"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    right: Right
    actions: tuple[str, ...]
    is_on_bucket: bool = False
