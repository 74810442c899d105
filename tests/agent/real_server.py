"""`tracker server` as a process that may be killed at any moment, and its data read beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.conftest import ROOT, wait_until
from tests.ports import free_port


class RealServer:
    """The server of a home and a database, on one port for its whole life."""

    def __init__(self, home: Path, database_url: str) -> None:
        self.database_url = database_url
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "HOME": "/nowhere",
            "TRACKER_HOME": str(home),
            "TRACKER_DATABASE": database_url,
        }
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home.parent / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers a moment later."""
        words = [sys.executable, "-m", "tracker", "server", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, env=self.env, start_new_session=True, stdout=log, stderr=log)

    def await_ready(self) -> None:
        wait_until(self._is_ready, 60, what=f"the server answers; it said: {self._said()}")

    def kill(self) -> None:
        """End all of its processes as a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):  # it ended by itself: its database was away when it started
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def agent_token(self) -> str:
        """A key of agents."""
        words = [sys.executable, "-m", "tracker", "token", "create", "--agent"]
        return subprocess.check_output(words, env=self.env, text=True).strip()

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended: {self._said()}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as refused:
            refused.close()
            return False
        except OSError:
            return False

    def _said(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""
