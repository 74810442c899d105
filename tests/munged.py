"""A munged of a test's own, and credentials of any user from it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import wait_until
from tracker.credentials import new_claim


class Munged:
    """A daemon with its key and socket. Another one with the same key is that of another machine of the cluster."""

    def __init__(self, folder: Path, key: bytes) -> None:
        self.folder, self.key = folder, key
        self.socket = folder / "socket"
        secret = folder / "key"
        secret.touch(mode=0o600)
        secret.write_bytes(key)
        argv = ["/usr/sbin/munged", "--foreground", "--force", f"--key-file={secret}", f"--socket={self.socket}"]
        argv += [f"--pid-file={folder}/pid", f"--log-file={folder}/log", f"--seed-file={folder}/seed"]
        self._process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: subprocess.run(["munge", "-n", "-S", self.socket], capture_output=True).returncode == 0)

    def credential(self, uid: int, payload: bytes, *options: str) -> str:
        """A credential that a process of this user makes."""
        argv = ["munge", "-S", str(self.socket), *options]
        made = subprocess.run(argv, input=payload, capture_output=True, check=True, user=uid, group=uid)
        return made.stdout.decode().strip()

    def for_server(self, uid: int, url: str, *options: str) -> str:
        """A credential with which this user logs in at a server."""
        return self.credential(uid, new_claim(url).packed(), *options)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """It takes connections and answers none."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()


@contextmanager
def running(key: bytes | None = None) -> Iterator[Munged]:
    """A munged in a folder that every user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="tracker-munged-"))
    folder.chmod(0o755)
    daemon = Munged(folder, key or os.urandom(1024))
    try:
        yield daemon
    finally:
        daemon.stop()
        shutil.rmtree(folder)
