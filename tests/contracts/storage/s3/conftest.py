"""What only S3 has runs over every store that speaks it."""

import pytest

from tests.contracts.storage.rows import S3_STORES
from tests.contracts.storage.s3.stores import S3Store


@pytest.fixture(scope="session", params=[pytest.param(f"{name}_store", id=name) for name in S3_STORES])
def store(request: pytest.FixtureRequest) -> S3Store:
    running: S3Store = request.getfixturevalue(request.param)
    return running
