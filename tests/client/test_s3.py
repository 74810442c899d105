"""Copies in an S3-compatible store: a real server on loopback, a real s3fs."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import urllib.request
from collections.abc import Iterator

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from tests.client.conftest import Scripts
from tests.client.test_artifacts import MIB, artifacts, notes, sha256

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
SMALL_PARTS = """
    import os, signal
    import s3fs
    from tracker.client import s3
    s3.PART_BYTES = 5 * 1024 * 1024  # S3 takes no smaller ones
    sent, pipe_file = [], s3fs.S3FileSystem.pipe_file
    def counting(self, path, value, **more):
        sent.append(path)
        if len(sent) == {dies_at}: os.kill(os.getpid(), signal.SIGKILL)
        return pipe_file(self, path, value, **more)
    s3fs.S3FileSystem.pipe_file = counting
    tracker.log_artifact("model.pt", copy=True)
    print(len(sent))
"""


class Bucket:
    """A bucket of a server, as a script finds it and as this test sees it."""

    def __init__(self, endpoint: str) -> None:
        self.env = {**KEYS, "AWS_ENDPOINT_URL": endpoint, "TRACKER_ARTIFACTS": "s3://bucket/team/"}
        self._files = s3fs.S3FileSystem(
            key="key", secret="secret", endpoint_url=endpoint, use_listings_cache=False, skip_instance_cache=True
        )
        self._files.mkdir("bucket")

    def names(self) -> list[str]:
        return [name.removeprefix("bucket/team/") for name in self._files.find("bucket")]

    def digests(self) -> dict[str, str]:
        """Of each object that is kept under a digest: the digest of what is in it."""
        kept = [name for name in self.names() if name.startswith("sha256/")]
        content = {name: self._files.cat(f"bucket/team/{name}") for name in kept}
        return {name[7:].replace("/", ""): hashlib.sha256(raw).hexdigest() for name, raw in content.items()}

    def put(self, name: str, raw: bytes) -> None:
        self._files.pipe_file(f"bucket/team/{name}", raw)


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()  # all its servers share a memory
    yield Bucket(f"http://{host}:{port}")
    server.stop()


def test_a_copy_is_in_the_bucket_when_the_call_returns(scripts: Scripts, bucket: Bucket) -> None:
    (scripts.home / "out").mkdir()
    for name, text in (("a", "same"), ("b", "same"), ("empty", "")):
        (scripts.home / "out" / name).write_text(text)
    scripts.run("import os; tracker.log_artifact('out', copy=True); os._exit(9)", exit_code=9, **bucket.env)
    (told,) = artifacts(scripts)
    assert told["copied_to"] == "s3://bucket/team"
    kept = bucket.digests()
    assert len(kept) == 3  # two contents and the manifest
    assert told["sha256"] in kept
    assert all(name == digest for name, digest in kept.items())


def test_an_upload_that_was_killed_sends_only_what_is_missing(scripts: Scripts, bucket: Bucket) -> None:
    (scripts.home / "model.pt").write_bytes(os.urandom(23 * MIB))
    scripts.run(SMALL_PARTS.format(dies_at=4), exit_code=-signal.SIGKILL, **bucket.env)
    assert len(bucket.names()) == 3
    assert bucket.digests() == {}
    done = scripts.run(SMALL_PARTS.format(dies_at=0), **bucket.env)
    assert done.stdout == "2\n", done.stderr
    digest = sha256(scripts.home / "model.pt")
    assert bucket.digests() == {digest: digest}
    assert len(bucket.names()) == 1
    assert scripts.run(SMALL_PARTS.format(dies_at=0), **bucket.env).stdout == "0\n"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"TRACKER_ARTIFACTS": "s3://none/x"}, "bucket does not exist"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Could not connect"),
    ],
)
def test_a_store_that_takes_nothing_is_a_note(
    scripts: Scripts, bucket: Bucket, wrong: dict[str, str], reason: str
) -> None:
    (scripts.home / "model.pt").write_bytes(b"weights")
    scripts.run("tracker.log_artifact('model.pt', copy=True)", **{**bucket.env, **wrong})
    assert reason in notes(scripts)["copy of model.pt"]
    (told,) = artifacts(scripts)
    assert told["sha256"] == sha256(scripts.home / "model.pt")
    assert "copied_to" not in told


def test_without_s3fs_the_artifact_is_told_of_and_the_way_out_too(scripts: Scripts) -> None:
    (scripts.home / "model.pt").write_bytes(b"weights")
    code = "import sys; sys.modules['s3fs'] = None; tracker.log_artifact('model.pt', copy=True)"
    scripts.run(code, TRACKER_ARTIFACTS="s3://bucket/x")
    (told,) = artifacts(scripts)
    assert told["sha256"] == sha256(scripts.home / "model.pt")
    assert "pip install 'slurm-tracker[artifacts]'" in notes(scripts)["copy of model.pt"]
