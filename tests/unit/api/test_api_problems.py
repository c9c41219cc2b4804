"""Every error has its row, and nothing of ours leaks through one."""

import pytest

from broker.api.problems import ROWS, problem
from broker.domain.errors import BrokerError, LedgerUnavailable


def _tree(kind: type[BrokerError]) -> set[type[BrokerError]]:
    return {kind}.union(*(_tree(child) for child in kind.__subclasses__()))


def test_every_error_class_has_its_row() -> None:
    assert set(ROWS) == {kind for kind in _tree(BrokerError) if kind.__module__ == "broker.domain.errors"}


def test_codes_and_titles_are_unique() -> None:
    assert len({kind.code for kind in ROWS}) == len(ROWS)
    assert len({row.title for row in ROWS.values()}) == len(ROWS)


@pytest.mark.parametrize("kind", list(ROWS), ids=lambda kind: kind.code)
def test_what_may_be_sent_again_is_never_a_plain_refusal(kind: type[BrokerError]) -> None:
    assert kind.is_retryable == (ROWS[kind].status in {409, 429, 503} and kind.is_retryable)
    assert ROWS[kind].status != 503 or kind.is_retryable


@pytest.mark.parametrize("kind", list(ROWS), ids=lambda kind: kind.code)
def test_trouble_of_ours_is_told_by_its_class_alone(kind: type[BrokerError]) -> None:
    told = problem(kind("redis at 10.0.0.7 says no"), "id")
    is_told = "10.0.0.7" in told.detail
    assert is_told == (ROWS[kind].status < 500)


def test_a_problem_names_its_request() -> None:
    told = problem(LedgerUnavailable(), "abc")
    assert (told.request_id, told.type, told.is_retryable) == ("abc", "/problems/ledger-unavailable", True)
