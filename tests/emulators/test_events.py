"""What happened is told: in the shape of S3, after the fact, at least once – unless a fault says otherwise."""

from collections.abc import Iterator

import pytest

from emulators.process import S3Process, start_s3
from tests.emulators.conftest import Client, client_of
from tests.emulators.faults import counters, faults
from tests.emulators.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def loud(receiver: Receiver) -> Iterator[S3Process]:
    arguments = ["--notify-bearer=secret-token"]
    with start_s3(notify={"uploads": f"{receiver.url}?token=T"}, arguments=arguments) as process:
        yield process


@pytest.fixture
def writer(loud: S3Process) -> Iterator[Client]:
    client = client_of(loud)
    yield client
    client.close()


def test_first_comes_a_test_event_and_then_records_in_aws_shape(receiver: Receiver, writer: Client) -> None:
    etag = writer.put_object(Bucket="uploads", Key="a b+ü/x", Body=b"12345")["ETag"]
    (record,) = receiver.wait(1)
    assert any(body.get("Event") == "s3:TestEvent" for _, _, body in receiver.requests)
    assert (record["eventSource"], record["eventName"]) == ("aws:s3", "ObjectCreated:Put")
    assert record["s3"]["bucket"]["name"] == "uploads"
    seen = record["s3"]["object"]
    assert (seen["key"], seen["size"], seen["eTag"]) == ("a+b%2B%C3%BC/x", 5, etag.strip('"'))
    path, headers, _ = receiver.requests[-1]
    assert (path, headers["authorization"]) == ("/hook?token=T", "Bearer secret-token")


def test_every_kind_of_change_is_told_in_sequence(receiver: Receiver, writer: Client) -> None:
    writer.put_bucket_versioning(Bucket="uploads", VersioningConfiguration={"Status": "Enabled"})
    where = {"Bucket": "uploads", "Key": "k"}
    version = writer.put_object(**where, Body=b"1")["VersionId"]
    receiver.wait(1)
    writer.copy_object(**where, CopySource=where, MetadataDirective="REPLACE")
    receiver.wait(2)
    upload = {**where, "UploadId": writer.create_multipart_upload(**where)["UploadId"]}
    part = writer.upload_part(**upload, PartNumber=1, Body=b"2")
    sums = {name: value for name, value in part.items() if name in {"ETag", "ChecksumCRC32"}}
    writer.complete_multipart_upload(**upload, MultipartUpload={"Parts": [{"PartNumber": 1, **sums}]})
    receiver.wait(3)
    writer.delete_object(**where)
    receiver.wait(4)
    writer.delete_object(**where, VersionId=version)
    records = receiver.wait(5)
    assert [record["eventName"] for record in records] == [
        "ObjectCreated:Put",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRemoved:Delete",
    ]
    assert records[0]["s3"]["object"]["versionId"] == version
    sequencers = [record["s3"]["object"]["sequencer"] for record in records]
    assert sequencers == sorted(sequencers)


def test_event_is_sent_again_until_it_is_taken(receiver: Receiver, writer: Client, loud: S3Process) -> None:
    receiver.answers += [503, 500, 307]
    writer.put_object(Bucket="uploads", Key="k", Body=b"1")
    receiver.wait(1)
    counted = counters(loud, until=lambda seen: seen["events"]["waiting"] == 0)["events"]
    assert (counted["created"], counted["failed"]) == (1, 3)


def test_events_can_be_lost_or_doubled(receiver: Receiver, writer: Client, loud: S3Process) -> None:
    faults(loud, events_lost=1)
    writer.put_object(Bucket="uploads", Key="lost", Body=b"")
    faults(loud, events_doubled=1)
    writer.put_object(Bucket="uploads", Key="doubled", Body=b"")
    assert [record["s3"]["object"]["key"] for record in receiver.wait(2)] == ["doubled"] * 2
    counted = counters(loud, until=lambda seen: seen["events"]["waiting"] == 0)["events"]
    assert (counted["created"], counted["lost"], counted["doubled"]) == (2, 1, 1)


def test_events_can_come_in_another_order(receiver: Receiver, writer: Client, loud: S3Process) -> None:
    faults(loud, events_reordered=0.5, reorder_seconds=0.5, seed=3)
    for number in range(10):
        writer.put_object(Bucket="uploads", Key=f"{number}", Body=b"")
    order = [record["s3"]["object"]["key"] for record in receiver.wait(10)]
    assert sorted(order) == [str(number) for number in range(10)]
    assert order != sorted(order)


def test_same_seed_loses_the_same_events(receiver: Receiver, writer: Client, loud: S3Process) -> None:
    kept: list[list[str]] = []
    for _ in range(2):
        faults(loud, events_lost=0.5, seed=11)
        for number in range(20):
            writer.put_object(Bucket="uploads", Key=f"{number}", Body=b"")
        counters(loud, until=lambda seen: seen["events"]["waiting"] == 0)
        kept.append(sorted(record["s3"]["object"]["key"] for record in receiver.records))
        receiver.requests.clear()
    assert kept[0] == kept[1]
    assert 0 < len(kept[0]) < 20


def test_refused_upload_is_not_told(receiver: Receiver, writer: Client, loud: S3Process) -> None:
    with pytest.raises(writer.exceptions.ClientError):
        writer.put_object(Bucket="uploads", Key="k", Body=b"1", ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==")
    assert counters(loud)["events"]["created"] == 0
    assert receiver.records == []
