"""One tree: a stable code, a sentence and a place in the drawing for every class."""

import re
from collections.abc import Iterator

import pytest

from broker.domain import errors
from broker.domain.errors import BrokerError, CompletionInProgress, IdempotencyInFlight, Limited, Unavailable


def _tree(root: type[BrokerError]) -> Iterator[type[BrokerError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


TREE = [error for error in _tree(BrokerError) if error.__module__ == errors.__name__]


def test_every_code_is_kebab_case_and_taken_once() -> None:
    codes = [error.code for error in TREE]
    assert len(codes) == len(set(codes))
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)
    assert all("code" in vars(error) for error in TREE)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.code)
def test_every_error_says_what_is_wrong_in_one_sentence(error: type[BrokerError]) -> None:
    text = str(error())
    assert text == (error.__doc__ or "").strip()
    assert text.endswith(".")
    assert "\n" not in text


def test_the_drawing_shows_every_class_under_its_parent_and_nothing_else() -> None:
    drawn = re.findall(r"[A-Z][A-Za-z]+", (errors.__doc__ or "").partition("BrokerError")[2])
    assert sorted(drawn) == sorted(error.__name__ for error in TREE if error is not BrokerError)


def test_what_is_worth_another_try_says_so() -> None:
    retryable = {error for error in TREE if error.is_retryable}
    assert retryable == {*_tree(Unavailable), *_tree(Limited), IdempotencyInFlight, CompletionInProgress}
    assert all(error.retry_after.total_seconds() >= 1 for error in _tree(Unavailable))


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.code)
def test_an_error_can_name_the_field_at_fault(error: type[BrokerError]) -> None:
    plain, spoken = error.at("/a"), error.at("/a", "too much")
    assert type(plain) is error
    assert [(fault.pointer, fault.code) for fault in plain.errors] == [("/a", error.code)]
    assert spoken.detail == spoken.errors[0].message == "too much"
