"""The bucket policy behind which a store that obeys unsigned headers may be used, as one recipe for tests.

`reader` is whom the broker heads, reads and removes with (the bucket's owner), `writer` whom it signs PUTs with. On
Ceph 16.2 both statements that look superfluous are not (tests/peers/ceph/test_facts.py): who writes an object owns it,
so the owner of the bucket needs a grant to read it, and the writer has to be denied what he owns.
"""

from typing import Any


def guard_statements(bucket: str, *, writer: str, reader: str, prefix: str = "uploads") -> list[dict[str, Any]]:
    everything = [f"arn:aws:s3:::{bucket}/*"]
    return [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam:::user/{writer}"]},
            "Action": ["s3:PutObject"],
            "Resource": [f"arn:aws:s3:::{bucket}/{prefix}/*"],
        },
        {
            "Effect": "Allow",
            "Principal": {"AWS": [f"arn:aws:iam:::user/{reader}"]},
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": everything,
        },
        {
            "Effect": "Deny",
            "Principal": {"AWS": [f"arn:aws:iam:::user/{writer}"]},
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion"],
            "Resource": everything,
        },
    ]
