"""Several stores agree on one digest that each proves by itself; what else is declared is proved as ever."""

from typing import Any
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from broker.contract import Checksum, Level
from broker.domain.errors import ChecksumNotProvable, SizeTooLarge
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination
from broker.ports import Bucket
from broker.services.admission import MAX_PUT_BYTES, Strategy, agree, choose
from broker.storage.s3.dialects import DIALECTS, DialectName
from tests.unit.domain.samples import digest

ALL = {name: digest(name) for name in ("sha256", "crc32c", "md5")}


def a_spec(*names: str) -> UploadSpec:
    checksum = Checksum(**{name: ALL[name] for name in names})
    return UploadSpec(filename="a.csv", size_bytes=10, content_type="text/csv", checksum=checksum)


def a_bucket(name: DialectName) -> Bucket:
    """As it is with a store of this dialect, as far as promises go."""
    signer: Any = Mock()
    signer.binds = lambda spec: DIALECTS[name].guarantees(spec.checksum)
    parts: Any = Mock()
    parts.signer.binds = lambda spec: DIALECTS[name].guarantees_in_parts(spec.checksum)
    place = Destination(name=name, bucket=f"acme-{name}", prefix="uploads")
    return Bucket(destination=place, put=signer, get=signer, objects=signer, remover=signer, multipart=parts)


@pytest.mark.parametrize(
    ("declared", "stores", "digest"),
    [
        (["sha256"], ["aws", "aws"], "sha256"),
        (["sha256", "md5"], ["aws", "ceph"], "md5"),
        (["md5"], ["ceph", "aws"], "md5"),
        (["sha256", "crc32c", "md5"], ["aws"], "sha256"),
        (["sha256", "crc32c", "md5"], ["ceph"], "md5"),
    ],
)
def test_one_digest_that_all_prove_is_enough(declared: list[str], stores: list[DialectName], digest: str) -> None:
    assert agree("auto", a_spec(*declared), [a_bucket(name) for name in stores])[0] == digest


@pytest.mark.parametrize(
    ("declared", "stores", "said"),
    [
        ([], ["aws"], "none is declared"),
        (["sha256"], ["aws", "ceph"], "sha256 not by ceph"),
        (["sha256", "md5"], ["ceph", "r2"], "sha256 not by ceph, r2; md5 not by r2"),
    ],
)
def test_who_cannot_prove_which_digest_is_said(declared: list[str], stores: list[DialectName], said: str) -> None:
    with pytest.raises(ChecksumNotProvable, match=said) as refused:
        agree("put", a_spec(*declared), [a_bucket(name) for name in stores])
    assert [fault.pointer for fault in refused.value.errors] == ["/checksum"]


def test_what_could_only_go_in_parts_is_refused_for_its_size() -> None:
    large = replace(a_spec("sha256"), size_bytes=MAX_PUT_BYTES + 1)
    strategies: tuple[Strategy, ...] = ("auto", "put")
    for strategy in strategies:
        with pytest.raises(SizeTooLarge) as refused:
            agree(strategy, large, [a_bucket("aws")])
        assert [fault.pointer for fault in refused.value.errors] == ["/size_bytes"]


def test_the_promise_is_about_all_that_is_declared() -> None:
    guarantees = choose("put", a_spec("sha256", "md5"), a_bucket("ceph"), proves="md5").guarantees
    assert guarantees.checksum is Level.ON_READ


def test_what_head_is_to_show_is_judged_for_all_digests_or_not_believed_at_all() -> None:
    bucket = a_bucket("ceph")
    levels = {1: Level.AT_HEAD, 2: Level.ON_READ}

    def binds(spec: UploadSpec) -> Any:
        given = [spec.checksum.sha256, spec.checksum.md5]
        promised: Any = Mock(size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.ENFORCED)
        promised.checksum = levels[sum(value is not None for value in given)]
        return promised

    signer: Any = bucket.put
    signer.binds = binds
    assert choose("put", a_spec("md5"), bucket, proves="md5").multipart is None
    with pytest.raises(ChecksumNotProvable):
        choose("put", a_spec("sha256", "md5"), bucket, proves="md5")
