"""What a refusal means: each code names the credential, the permission or the setting that mends it."""

from typing import Any, cast

import pytest

from broker.checks.digests import crc32c, crc64nvme
from broker.checks.s3.site import S3Site
from broker.checks.s3.troubles import Need, explained, explained_text
from broker.checks.stranger import Reply, Sent
from broker.storage.s3.keeping import Keeping
from tests.unit.checks.test_checks_run import Place

NEED = Need(right="write", actions=("s3:PutObject",))
SITE = cast("S3Site", Place())


@pytest.mark.parametrize(
    ("status", "code", "fix"),
    [
        (403, "InvalidAccessKeyId", "access key of credentials.write"),
        (403, "SignatureDoesNotMatch", "secret key of credentials.write"),
        (400, "ExpiredToken", "session token of credentials.write"),
        (400, "InvalidToken", "session token of credentials.write"),
        (403, "RequestTimeTooSkewed", "NTP"),
        (404, "NoSuchBucket", "make the bucket acme"),
        (501, "NotImplemented", "generic"),
        (403, "AccessDenied", "allow s3:PutObject on arn:b/* to credentials.write"),
        (403, "", "setup s3 --print eu"),
        (500, "InternalError", "try again"),
    ],
)
def test_a_code_has_its_fix(status: int, code: str, fix: str) -> None:
    assert fix in str(explained(SITE, NEED, status, code).fix)


def test_only_a_denial_names_a_permission() -> None:
    assert explained(SITE, NEED, 403, "AccessDenied").permission == "s3:PutObject on arn:b/*"
    assert explained(SITE, NEED, 403, "SignatureDoesNotMatch").permission is None


def test_what_the_destinations_settings_need_is_named_too() -> None:
    kept = cast("S3Site", Place(Keeping(encryption="aws:kms", kms_key_id="id", tags={"a": "b"})))
    assert explained(kept, NEED, 403, "AccessDenied").permission == (
        "s3:PutObject, s3:PutObjectTagging on arn:b/*, and kms:GenerateDataKey, kms:Decrypt on its key"
    )


def test_another_region_is_fatal_and_named() -> None:
    finding = explained(SITE, NEED, 301, "PermanentRedirect", region="us-west-2")
    assert finding.is_fatal
    assert 'destinations.eu.region = "us-west-2" (now "eu-west-1")' in str(finding.fix)


@pytest.mark.parametrize(
    ("detail", "said"),
    [
        ("the store answers 403 AccessDenied: the credential lacks a permission", "the store answers 403 AccessDenied"),
        ("the store answers 403: the credential lacks a permission", "the store answers 403"),
        ("the store does not answer (ClientConnectorError)", "the store does not answer (ClientConnectorError)"),
    ],
)
def test_the_text_of_an_error_is_read_as_its_answer(detail: str, said: str) -> None:
    assert explained_text(SITE, NEED, detail).said == said


def test_digests_are_those_of_the_catalogue() -> None:
    assert crc32c(b"123456789").hex() == "e3069283"
    assert crc64nvme(b"123456789").hex() == "ae8b14860a799888"


def test_a_request_on_its_way_shows_no_url() -> None:
    assert "secret" not in repr(Sent(method="PUT", url="https://x/?X-Amz-Signature=secret", headers={}))


@pytest.mark.parametrize(
    ("status", "is_refusal"),
    [(200, False), (204, False), (301, False), (400, True), (403, True), (500, False), (501, True)],
)
def test_only_what_was_not_done_is_a_refusal(status: int, is_refusal: bool) -> None:
    assert Reply(status=status, headers={}, body=b"").is_refusal is is_refusal


@pytest.mark.parametrize("date", [{}, {"date": "yesterday"}, {"date": ""}])
def test_an_answer_without_a_date_has_none(date: dict[str, Any]) -> None:
    assert Reply(status=200, headers=date, body=b"").date is None
