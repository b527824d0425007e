"""An S3 server on this machine, in a process of its own: `python object_storage.py LOG` serves until it is ended."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

BUCKET = "pictures"


class Storage:
    """A bucket, and what it was asked for."""

    def __init__(self, log: Path) -> None:
        import boto3

        self.log = log
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=BUCKET)

    def put(self, name: str, content: bytes | Path) -> str:
        """Stores an object and gives its URL."""
        body = content.read_bytes() if isinstance(content, Path) else content
        self.client.put_object(Bucket=BUCKET, Key=name, Body=body, ACL="public-read")
        return f"s3://{BUCKET}/{name}"

    def asked(self) -> list[tuple[str, int]]:
        """Name and number of bytes of every part of an object that was read since the last call."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        self.log.write_text("")
        parts = [
            (path.rpartition("/")[2], part.removeprefix("bytes=").split("-")) for path, part in lines if part != "-"
        ]
        return [(name, int(stop) - int(start) + 1) for name, (start, stop) in parts]


@contextmanager
def s3_server(log: Path) -> Iterator[Storage]:
    """In this context the environment tells where the server is and who asks, as it would of another server."""
    log.touch()
    with subprocess.Popen([sys.executable, __file__, str(log)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        try:
            with mock.patch.dict(os.environ, environment):
                yield Storage(log)
        finally:
            server.terminate()


def serve(log: Path) -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    application = DomainDispatcherApplication(create_backend_app)

    def logged(environ: dict[str, Any], start_response: Callable) -> Any:
        with log.open("a") as file:
            file.write(f"{environ['PATH_INFO']} {environ.get('HTTP_RANGE', '-')}\n")
        return application(environ, start_response)

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *arguments: Any) -> None:
            pass

    server = make_server("127.0.0.1", 0, logged, threaded=True, request_handler=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
