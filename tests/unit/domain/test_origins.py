import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import OriginNotAllowed
from broker.domain.origins import Origins

PAGE = "https://app.example"


def test_the_named_one_comes_before_the_sent_one() -> None:
    origins = Origins([PAGE, "http://localhost:5173"])
    assert origins.of(PAGE, "http://localhost:5173") == PAGE
    assert origins.of(None, "http://localhost:5173") == "http://localhost:5173"
    assert origins.of(None, None) is None


@pytest.mark.parametrize("allowed", [(), (PAGE,)])
def test_only_who_stands_in_the_list_is_named(allowed: tuple[str, ...]) -> None:
    with pytest.raises(OriginNotAllowed) as refused:
        Origins(allowed).of("https://evil.example", PAGE)
    assert [fault.pointer for fault in refused.value.errors] == ["/origin"]


@pytest.mark.parametrize(
    "sent", ["https://evil.example", "null", "*", "", f"{PAGE}/", f"{PAGE}.evil.example", PAGE.upper()]
)
def test_a_page_that_is_none_of_ours_gets_an_upload_that_no_page_can_follow(sent: str) -> None:
    assert Origins([PAGE]).of(None, sent) is None


@given(st.text())
def test_even_where_all_are_welcome_only_an_origin_is_one(text: str) -> None:
    origin = Origins(["*"]).of(None, text)
    assert origin is None or ("\r" not in text and "\n" not in text and "://" in text)


@pytest.mark.parametrize("sent", ["https://a.example", "http://localhost:8080", "http://[::1]:9000", "app://x"])
def test_where_all_are_welcome_any_origin_is(sent: str) -> None:
    assert Origins(["*"]).of(sent, None) == sent


@pytest.mark.parametrize("sent", ["*", "null", "https://a.example\r\nx: y", "https://a.example\n", "a.example"])
def test_nothing_else_is(sent: str) -> None:
    with pytest.raises(OriginNotAllowed):
        Origins(["*"]).of(sent, None)
