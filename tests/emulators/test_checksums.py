"""Our own CRCs against known values and against zlib's."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulators.checksums import BLOCK_BYTES, CRCS, combine, new
from emulators.checksums import _Folding as Folding


def folded(name: str, *pieces: bytes) -> bytes:
    digest = Folding(CRCS[name])
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


@pytest.mark.parametrize(
    ("name", "check"), [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")]
)
def test_check_values_of_the_catalogue_of_crcs(name: str, check: str) -> None:
    assert folded(name, b"123456789").hex() == check


@given(
    size=st.integers(0, 4 * BLOCK_BYTES), cut=st.integers(0, 4 * BLOCK_BYTES), seed=st.binary(min_size=1, max_size=99)
)
def test_folding_equals_zlib_however_the_data_arrives(size: int, cut: int, seed: bytes) -> None:
    body = (seed * (size // len(seed) + 1))[:size]
    assert folded("crc32", body[:cut], body[cut:]) == zlib.crc32(body).to_bytes(4, "big")


@pytest.mark.parametrize("name", CRCS)
def test_crc_of_parts_combines_to_the_crc_of_the_whole(name: str) -> None:
    body = bytes(range(251)) * 777
    parts = [body[:100], body[100:100_000], body[100_000:], b""]
    whole = new(name)
    whole.update(body)
    assert combine(name, [(folded(name, part), len(part)) for part in parts]) == whole.digest()
