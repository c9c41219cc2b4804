"""Sizes as people write them: `4096`, `4KiB`, `1.5GB`, and ranges of them: `1KiB-64MiB`."""

import math
import random
import re
from dataclasses import dataclass
from typing import Self

UNITS: dict[str, int] = {"": 1, "B": 1} | {
    f"{letter}{tail}": base**power
    for power, letter in enumerate("KMGT", start=1)
    for tail, base in (("iB", 1024), ("B", 1000))
}
MAX_BYTES = (1 << 63) - 1  # SQLite, Datatypes: an INTEGER is 8 bytes, signed; off_t is no larger

_SIZE = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,6})?)\s*([A-Za-z]{0,3})", re.ASCII)


def parse_size(text: str) -> int:
    """Bytes.

    :raises ValueError: that is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in UNITS:
        raise ValueError(f"{text!r} is no size: a number and B, KiB, MiB, GiB, TiB, KB, MB, GB or TB")
    number, unit = match.groups()
    whole, _, fraction = number.partition(".")
    digits = int(whole + fraction)
    size = digits * UNITS[unit] // int("1" + "0" * len(fraction))
    if size > MAX_BYTES:
        raise ValueError(f"{text!r} is a size that no file has")
    return size


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """From the least to the most, both included."""

    least_bytes: int
    most_bytes: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """:raises ValueError: neither a size nor two of them with a dash between, the smaller first."""
        least, dash, most = text.partition("-")
        sizes = cls(least_bytes=parse_size(least), most_bytes=parse_size(most if dash else least))
        if sizes.least_bytes > sizes.most_bytes:
            raise ValueError(f"{text!r} begins with the larger size")
        return sizes

    def draw(self, source: random.Random) -> int:
        """One of them. Each order of magnitude is as likely as the next, as it is in real trees."""
        if self.least_bytes == self.most_bytes:
            return self.least_bytes
        low, high = math.log(self.least_bytes + 1), math.log(self.most_bytes + 1)
        drawn = int(math.exp(low + (high - low) * source.random())) - 1
        return min(max(drawn, self.least_bytes), self.most_bytes)
