"""Which function takes a job, what counts as a line, and which texts leave the worker."""

from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract import Checksum
from consumer import Reject, errors, processor
from consumer.backoff import Backoff
from consumer.digests import Prover
from consumer.events import Events, printable, scrub
from consumer.processors import Processors, arrange, collect
from consumer.reader import Lines
from consumer.verdicts import OUTCOMES, verdict_of


@processor("*")
def _anything(_job: Any, _reader: Any) -> None: ...


@processor("image/*", "text/csv", timeout=None)
async def _pictures(_job: Any, _reader: Any) -> None: ...


@processor("image/PNG")
def _png(_job: Any, _reader: Any) -> None: ...


def _module(**names: Any) -> ModuleType:
    module = ModuleType("application")
    vars(module).update(names)
    return module


@pytest.fixture
def found() -> Processors:
    return arrange(collect(_module(anything=_anything, pictures=_pictures, png=_png, other=print, number=7)))


@pytest.mark.parametrize(
    ("content_type", "name"),
    [
        ("image/png", "png"),
        ("IMAGE/Png; x=y", "png"),
        ("image/jpeg", "pictures"),
        ("text/csv", "pictures"),
        ("text/csv; charset=utf-8", "pictures"),
        ("text/plain", "anything"),
        ("imagex/png", "anything"),
    ],
)
def test_the_exact_type_wins_then_its_family_then_the_star(found: Processors, content_type: str, name: str) -> None:
    assert found.match(content_type).name == name


def test_a_function_keeps_its_terms_and_itself(found: Processors) -> None:
    assert found.match("image/gif").function is _pictures
    assert found.match("image/gif").terms.timeout_seconds is None
    assert found.match("image/png").terms.timeout_seconds == 600
    assert (found.match("image/gif").is_async, found.match("image/png").is_async) == (True, False)
    assert found.needs_pool


def test_without_a_star_another_type_has_no_processor() -> None:
    with pytest.raises(errors.NoProcessor, match="text/plain"):
        arrange(collect(_module(pictures=_pictures))).match("text/plain")


def test_two_functions_cannot_take_one_pattern() -> None:
    @processor("image/png")
    def rival(_job: Any, _reader: Any) -> None: ...

    with pytest.raises(errors.ConfigurationInvalid, match="image/png"):
        arrange(collect(_module(png=_png, rival=rival)))


def test_one_function_under_two_names_is_one() -> None:
    assert arrange(collect(_module(a=_png, b=_png))).match("image/png").function is _png


@pytest.mark.parametrize(
    "pattern", ["", "text", "text/", "/csv", "*/csv", "te*t/csv", "text/c*", "text/csv; a=b", "a/b*"]
)
def test_a_pattern_that_is_none_is_refused(pattern: str) -> None:
    with pytest.raises(errors.ConfigurationInvalid):
        processor(pattern)


def test_a_processor_of_nothing_is_refused() -> None:
    with pytest.raises(errors.ConfigurationInvalid):
        processor()


@given(st.lists(st.lists(st.sampled_from([b"a", b"b", b"\r", b"\n"])).map(b"".join)))
def test_lines_do_not_depend_on_how_the_bytes_are_cut(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    lines = Lines(1000)
    found = [line for piece in pieces for line in lines.feed(piece)] + list(lines.end())
    expected = whole.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert found == [line.removesuffix(b"\r") for line in expected]


@given(st.text())
def test_a_printable_text_is_printable(text: str) -> None:
    assert printable(text).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "GET https://bucket.s3.test/k?X-Amz-Signature=abc failed",
        "s3://bucket/key",
        "Authorization: Bearer ub_id_secretsecret",
        "key ub_worker_secretsecret refused",
        "/k?X-Amz-Credential=AKIA&X-Amz-Signature=abc",
        "sig=abc%2F",
    ],
)
def test_addresses_and_credentials_do_not_leave(text: str) -> None:
    told = scrub(text)
    for secret in ("bucket", "abc", "secret", "AKIA"):
        assert secret not in told


def test_a_long_text_is_cut() -> None:
    assert len(scrub("x" * 10_000)) == 300


def test_a_line_of_the_log_is_one_line_whatever_it_tells() -> None:
    lines: list[str] = []
    Events(write=lines.append, now=lambda: datetime(2026, 11, 20, tzinfo=UTC)).emit(
        "job.failed", {"detail": 'a "b"\nevent=job.processed', "epoch": 3, "code": None}
    )
    assert lines == [
        'at=2026-11-20T00:00:00.000Z event=job.failed detail="a \\"b\\"\\\\nevent=job.processed" epoch=3\n'
    ]


def test_every_error_has_its_outcome() -> None:
    """An error that ends an attempt and stands in no table would be taken for the processor's fault."""
    elsewhere = {errors.ConfigurationInvalid, errors.ConsumerError, errors.ReadFault}
    tree = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ConsumerError)}
    assert tree - elsewhere == set(OUTCOMES)


def test_an_error_of_ours_that_is_in_no_table_is_a_retry() -> None:
    assert verdict_of(errors.ConsumerError("x")).outcome == "retry"


def test_a_code_is_kebab_case() -> None:
    with pytest.raises(ValueError, match="kebab"):
        Reject("x", code="Bad Code")


def test_a_digest_without_a_declaration_is_not_provable() -> None:
    with pytest.raises(errors.ChecksumNotProvable):
        Prover(["sha256"], Checksum())


@given(st.integers(min_value=1, max_value=10_000))
def test_a_wait_is_never_immediate_and_never_beyond_its_limit(failures: int) -> None:
    delay = Backoff(base_seconds=0.1, limit_seconds=5.0).delay_seconds(failures)
    assert 0.05 <= delay <= 5.0
