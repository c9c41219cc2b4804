"""Values that the suites of the domain start from, and strategies for them."""

import base64
from datetime import timedelta

from hypothesis import strategies as st

from broker.contract import Checksum, Guarantees, Level
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, UploadSpec
from broker.domain.policy import Destination, Policy
from broker.domain.sessions import Facts, Session, begin
from tests.clock import START

ID = "00" + "a" * 26
GUARANTEES = Guarantees(
    size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.ENFORCED, checksum=Level.ENFORCED
)
PLACE = Destination(name="default", bucket="acme", prefix="uploads")
INFO = ObjectInfo(size_bytes=3, content_type="text/csv", etag="abc", metadata={CAPSULE_FIELD: "sealed"})

DIGEST_BYTES = {"sha256": 32, "crc32c": 4, "crc64nvme": 8, "md5": 16}


def digest(name: str, fill: int = 7) -> str:
    return base64.b64encode(bytes([fill]) * DIGEST_BYTES[name]).decode()


ALL_DIGESTS = Checksum(**{name: digest(name, 255) for name in DIGEST_BYTES})


def facts(policy: Policy = PLACE.policy, **changes: object) -> Facts:
    values: dict[str, object] = {
        "principal": "app",
        "destination": PLACE.name,
        "bucket": PLACE.bucket,
        "key": f"{PLACE.prefix}/{ID}/report.csv",
        "spec": UploadSpec(filename="report.csv", size_bytes=3, content_type="text/csv"),
        "guarantees": GUARANTEES,
        "created_at": START,
        "expires_at": START + policy.deadline,
        "requests_end_at": START + policy.url_ttl,
    }
    return Facts(**{**values, **changes})


def pending(**changes: object) -> Session:
    return begin(ID, facts(**changes), START)


def _digests(name: str) -> st.SearchStrategy[str | None]:
    raw = st.binary(min_size=DIGEST_BYTES[name], max_size=DIGEST_BYTES[name])
    return st.none() | raw.map(lambda data: base64.b64encode(data).decode())


checksums = st.builds(Checksum, **{name: _digests(name) for name in DIGEST_BYTES})
_token = st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$&^_.|~+-", min_size=1, max_size=20)
_name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64)
_label = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=256)
content_types = st.builds(
    lambda kind, sub, parameter: f"{kind}/{sub}{parameter}",
    st.from_regex(r"[A-Za-z0-9!#$&^_.+-]{1,30}", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9!#$&^_.+-]{1,30}", fullmatch=True),
    st.just("") | st.from_regex(r"; [a-z]{1,20}=[!-~]{1,40}", fullmatch=True),
)
generated_facts = st.builds(
    facts,
    principal=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    spec=st.builds(
        UploadSpec,
        filename=st.just("report.csv"),
        size_bytes=st.integers(0, 5 * 1024**4),
        content_type=content_types,
        checksum=checksums,
        object_metadata=st.dictionaries(_token.filter(lambda name: name != CAPSULE_FIELD), _token, max_size=5),
    ),
    metadata=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
        max_size=10,
    ),
    copy_of=st.just("") | st.just(ID),
    required=st.integers(0, 16),
    destinations=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64), max_size=16).map(
        tuple
    ),
    owner=_label,
    batch=_label,
    created_at=st.integers(0, 10**9).map(lambda seconds: START + timedelta(seconds=seconds)),
)
