"""An S3 server for archives."""

from collections.abc import Iterator

import pytest
from data.object_storage import Storage, s3_server


@pytest.fixture(scope="session")
def storage(tmp_path_factory) -> Iterator[Storage]:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with s3_server(tmp_path_factory.mktemp("storage") / "log") as server:
        yield server
