"""`check` of a destination in Cloud Storage: all passes; with one thing broken exactly that line fails, and says what
mends it."""

from collections.abc import Iterator

import pytest

from broker.checks.findings import Outcome
from broker.checks.gcs.table import STEPS
from broker.operate_setup_gcs import apply_setup
from emulators.google_iam.process import GoogleIamProcess
from tests.checks.gcs_world import (
    BROKER,
    DELETE,
    GET,
    HUB,
    OPERATOR,
    READER,
    STRANGER,
    GcsPlace,
    identities,
    place_with,
)

CODES = {step.code for step in STEPS} | {"cleanup"}
UNREAD = {"access", "versioning", "lifecycle", "notification"}


@pytest.fixture(scope="module")
def iam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleIamProcess]:
    with identities(tmp_path_factory.mktemp("iam")) as running:
        yield running


@pytest.fixture(scope="module")
def place(iam: GoogleIamProcess) -> Iterator[GcsPlace]:
    with place_with(iam) as running:
        yield running


@pytest.fixture
def as_operator(iam: GoogleIamProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(iam.key_files[OPERATOR]))


async def test_everything_passes_and_nothing_is_left(place: GcsPlace) -> None:
    checked = await place.check()

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert checked.of(Outcome.PASSED) | checked.of(Outcome.SKIPPED) == CODES
    assert not checked.report.left_behind


async def test_what_is_open_is_tried_and_said(place: GcsPlace) -> None:
    checked = await place.check()

    for code, name in {
        "resumable-size": "size",
        "resumable-type": "content_type",
        "resumable-once": "create_only",
    }.items():
        assert f'destinations.scans.proved may say "{name}"' in checked.step(code).said
    assert "can be changed; the broker then takes the object for nobody's" in checked.step("resumable-metadata").said


async def test_no_report_holds_a_signature_a_token_or_a_session_uri(place: GcsPlace) -> None:
    told = repr((await place.check()).report)

    for secret in ("X-Goog-Signature", "upload_id", "Bearer", "ya29"):
        assert secret not in told


async def test_a_chain_of_delegates_is_asked_for_its_first_link(place: GcsPlace) -> None:
    checked = await place.check(delegates=[HUB])

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert checked.step("impersonation").said == "on the first delegate"


async def test_who_may_not_delegate_is_told_so(place: GcsPlace) -> None:
    checked = await place.check(delegates=[STRANGER])

    assert checked.failed == {"impersonation", "tokens"}
    assert checked.step("impersonation").permission == f"iam.serviceAccounts.implicitDelegation on {STRANGER}"
    assert "put" in checked.skipped_for("needs tokens")


async def test_who_may_not_impersonate_is_told_what_is_missing(place: GcsPlace) -> None:
    checked = await place.check(source=STRANGER)

    assert checked.failed == {"impersonation", "tokens"}
    lacking = str(checked.step("impersonation").permission)
    assert lacking.startswith("iam.serviceAccounts.getAccessToken, iam.serviceAccounts.signBlob on writer@")
    assert "upload-broker setup gcs --print scans" in str(checked.step("impersonation").fix)


async def test_a_reader_that_may_delete_is_named(iam: GoogleIamProcess) -> None:
    with place_with(iam, reader=(DELETE,)) as place:
        checked = await place.check()

    assert checked.failed == {"least-rights"}
    assert "reader: storage.objects.delete" in checked.step("least-rights").said


async def test_a_writer_that_reads_fails_by_what_it_may_and_by_what_it_does(iam: GoogleIamProcess) -> None:
    with place_with(iam, writer=(GET,)) as place:
        checked = await place.check()

    assert checked.failed == {"least-rights", "write-cannot-read"}


async def test_a_broker_that_may_read_by_itself_is_named(iam: GoogleIamProcess) -> None:
    with place_with(iam, broker=(GET,)) as place:
        checked = await place.check()

    assert checked.failed == {"least-broker"}
    assert GET in checked.step("least-broker").said


async def test_a_bucket_that_takes_more_than_declared_is_judged_from_head_unless_proved_says_otherwise(
    iam: GoogleIamProcess,
) -> None:
    with place_with(iam, "--lax-resumable-size") as place:
        open_, claimed = await place.check(), await place.check(proved=["size"])

    assert open_.report.outcome is Outcome.PASSED, open_.report
    assert "does not keep it; the broker judges it from HEAD" in open_.step("resumable-size").said
    assert "NOT bound" in open_.step("resumable-post").said
    assert claimed.failed == {"resumable-size"}
    assert claimed.step("resumable-size").fix == 'take "size" out of destinations.scans.proved'


async def test_a_store_that_hides_what_is_missing_is_understood(iam: GoogleIamProcess) -> None:
    with place_with(iam, "--hide-missing") as place:
        checked = await place.check()

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert checked.step("head-missing").said == "nothing is there"


async def test_without_cors_rules_the_preflight_fails(iam: GoogleIamProcess) -> None:
    with place_with(iam, origin=None) as place:
        checked = await place.check()

    assert checked.failed == {"cors-preflight"}
    assert "upload-broker setup gcs --print scans" in str(checked.step("cors-preflight").fix)


async def test_another_account_that_has_no_right_is_told_which(place: GcsPlace) -> None:
    checked = await place.check(writer=READER)

    assert checked.failed == {"put", "least-rights"}
    assert checked.step("put").permission == f"storage.objects.create on gs://uploads/uploads/ for {READER}"


async def test_a_bucket_that_is_not_there_is_named(place: GcsPlace) -> None:
    checked = await place.check(bucket="nowhere")

    assert "put" in checked.failed
    assert "nowhere" in str(checked.step("put").fix)


async def test_without_an_operator_nobody_reads_the_settings_and_the_fix_says_how(place: GcsPlace) -> None:
    checked = await place.check()

    assert checked.of(Outcome.SKIPPED) >= UNREAD
    assert "--operator" in str(checked.step("access").fix)


@pytest.mark.usefixtures("as_operator")
async def test_what_apply_makes_is_what_the_check_misses(iam: GoogleIamProcess) -> None:
    with place_with(iam, origin=None) as place:
        before = await place.check(is_operator=True)
        settings = place.settings()
        first, second = list(apply_setup(settings, None, given={})), list(apply_setup(settings, "scans", given={}))
        after = await place.check(is_operator=True)

    assert before.failed == {"cors-preflight", "notification"}
    assert "setup gcs --apply scans" in str(before.step("notification").fix)
    assert first == ["scans: CORS added", "scans: lifecycle added", "scans: notification added"]
    assert second == ["scans: CORS unchanged", "scans: lifecycle unchanged", "scans: notification unchanged"]
    assert after.report.outcome is Outcome.PASSED, after.report
    assert after.step("notification").said == "projects/emulated/topics/upload-broker-uploads"


@pytest.mark.usefixtures("as_operator")
async def test_what_others_put_on_the_bucket_stays(iam: GoogleIamProcess) -> None:
    from broker.setup.gcs.applying import open_client  # noqa: PLC0415

    theirs = {"origin": ["https://other.example"], "method": ["GET"], "responseHeader": ["etag"], "maxAgeSeconds": 60}
    with place_with(iam, origin=None) as place:
        client = open_client(place.gcs.endpoint)
        bucket = client.get_bucket("uploads")
        bucket.cors = [theirs]
        bucket.add_lifecycle_delete_rule(age=365)
        bucket.patch()
        list(apply_setup(place.settings(), None, given={}))
        bucket = client.get_bucket("uploads")
        checked = await place.check(is_operator=True)

    assert bucket.cors[0] == theirs
    assert len(bucket.cors) == 2
    assert {"age": 365} in [rule["condition"] for rule in bucket.lifecycle_rules]
    assert checked.report.outcome is Outcome.PASSED, checked.report


@pytest.mark.usefixtures("as_operator")
async def test_a_rule_that_takes_what_is_still_to_be_read_fails(iam: GoogleIamProcess) -> None:
    from broker.setup.gcs.applying import open_client  # noqa: PLC0415

    with place_with(iam) as place:
        list(apply_setup(place.settings(), None, given={}))
        bucket = open_client(place.gcs.endpoint).get_bucket("uploads")
        bucket.add_lifecycle_delete_rule(age=1)
        bucket.patch()
        checked = await place.check(is_operator=True)

    assert checked.failed == {"lifecycle"}
    assert "deletes live objects after 1 days" in checked.step("lifecycle").said


async def test_the_broker_needs_no_right_of_its_own(place: GcsPlace) -> None:
    assert BROKER not in repr((await place.check()).step("least-rights"))
