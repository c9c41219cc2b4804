"""Which files a scan has met, as one bit for each that the manifest knew before: 1,000,000 of them are 125 KB."""

from collections.abc import Iterator


class Seen:
    """:param last_id: of the files that were known when the scan began."""

    def __init__(self, last_id: int) -> None:
        self._bits = bytearray(last_id // 8 + 1)
        self._last_id = last_id

    @property
    def is_first(self) -> bool:
        """Nothing was known."""
        return self._last_id == 0

    def add(self, identifier: int) -> None:
        if identifier <= self._last_id:
            self._bits[identifier >> 3] |= 1 << (identifier & 7)

    def missing(self) -> Iterator[int]:
        """The ids that were not met, including those that no file has."""
        for index, byte in enumerate(self._bits):
            if byte != 0xFF:
                for bit in range(8):
                    identifier = index * 8 + bit
                    if not byte >> bit & 1 and 0 < identifier <= self._last_id:
                        yield identifier
