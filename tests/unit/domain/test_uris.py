import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.resumable import Resumable
from broker.domain.uris import UriSealer

OLD, NEW = b"o" * 32, b"n" * 32
URI = "https://storage.example/upload/b/acme/o?upload_id=ABg5-UxBearerSecret"
PLACE = {"session_id": "00mfrggzdfmztwq2lknnwg23tpoa", "key": "uploads/x/report.csv"}


@given(st.text(min_size=1, max_size=2_000), st.text(), st.text())
def test_what_was_sealed_opens_in_its_own_place(uri: str, session_id: str, key: str) -> None:
    sealed = UriSealer([NEW]).seal(uri, session_id=session_id, key=key)
    assert UriSealer([NEW]).open(sealed, session_id=session_id, key=key) == uri


def test_the_first_key_seals_and_every_key_opens() -> None:
    sealed = UriSealer([OLD]).seal(URI, **PLACE)
    rotated = UriSealer([NEW, OLD])
    assert rotated.open(sealed, **PLACE) == URI
    assert UriSealer([NEW]).open(rotated.seal(URI, **PLACE), **PLACE) == URI
    assert UriSealer([NEW]).open(sealed, **PLACE) is None
    assert UriSealer([]).open(sealed, **PLACE) is None


@pytest.mark.parametrize("moved", [{"session_id": "00other"}, {"key": "uploads/x/report.csw"}])
def test_moved_to_another_record_it_opens_nowhere(moved: dict[str, str]) -> None:
    sealed = UriSealer([NEW]).seal(URI, **PLACE)
    assert UriSealer([NEW]).open(sealed, **{**PLACE, **moved}) is None


@given(st.data())
def test_a_touched_one_opens_nowhere(data: st.DataObject) -> None:
    sealed = UriSealer([NEW]).seal(URI, **PLACE)
    place = data.draw(st.integers(0, len(sealed) - 5))  # the last ones may hold spare bits
    other = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda c: c != sealed[place]))
    touched = sealed[:place] + other + sealed[place + 1 :]
    assert UriSealer([NEW]).open(touched, **PLACE) is None


@pytest.mark.parametrize("sealed", ["", "?", "AAAA", "ü" * 40, "A" * 4_000])
def test_what_is_none_opens_nothing(sealed: str) -> None:
    assert UriSealer([NEW]).open(sealed, **PLACE) is None


def test_nothing_of_the_uri_shows() -> None:
    sealed = UriSealer([NEW]).seal(URI, **PLACE)
    assert "storage" not in sealed
    assert sealed not in repr(Resumable(sealed_uri=sealed, origin="https://app.example"))
