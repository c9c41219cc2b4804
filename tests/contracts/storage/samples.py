"""The one small object that the suite uploads, and its digests."""

import base64
import hashlib

from broker.contract import Checksum
from broker.domain.objects import UploadSpec

BODY = b"123456789"
OTHER = BODY[::-1]
SPEC = UploadSpec(
    filename="report.csv", size_bytes=len(BODY), content_type="text/csv", object_metadata={"mtime": "1732100000"}
)
CHECKSUMS = {
    "sha256": base64.b64encode(hashlib.sha256(BODY).digest()).decode(),
    "md5": base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode(),
    # The check values of the catalogue of parametrised CRC algorithms: CRC-32C e3069283, CRC-64/NVME ae8b14860a799888.
    "crc32c": base64.b64encode(bytes.fromhex("e3069283")).decode(),
    "crc64nvme": base64.b64encode(bytes.fromhex("ae8b14860a799888")).decode(),
}


def with_digest(algorithm: str) -> UploadSpec:
    """The same object with one declared digest."""
    checksum = Checksum(**{algorithm: CHECKSUMS[algorithm]})
    return UploadSpec(filename="report.csv", size_bytes=len(BODY), content_type="text/csv", checksum=checksum)
