"""A tracker of alice's own on a cluster: no root, no hooks of its own, only what Slurm tells everybody."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

from tests.conftest import wait_until
from tests.states.stage import PATIENCE_S, Stage

USER = "alice"


class Own:
    """Her `tracker up`, as she sees it."""

    def __init__(self, stage: Stage, home: Path) -> None:
        person = pwd.getpwnam(USER)
        self._stage = stage
        self._env = {"TRACKER_HOME": str(home), **{name: stage.env[name] for name in ("PATH", "SLURM_CONF")}}
        self.process = subprocess.Popen(
            ["tracker", "up", "--port", "0"], env={**self._env, "HOME": person.pw_dir, "USER": USER}, text=True,
            user=person.pw_uid, group=person.pw_gid, extra_groups=os.getgrouplist(USER, person.pw_gid), cwd="/",
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.link = self.process.stdout.readline().removeprefix("tracker is ready: ").strip()
        self.url = self.link.partition("/login")[0]
        self._token = self.tracker("token", "create").strip()
        self._person = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
        self._person.open(self.link, timeout=30).close()

    def tracker(self, *words: str) -> str:
        """What a command prints."""
        done = self._stage.cluster.run_as(USER, ["tracker", *words], env=self._env, timeout_s=PATIENCE_S)
        return done.stdout

    def api(self, path: str) -> Any:
        """What the API answers."""
        request = urllib.request.Request(f"{self.url}/api/v1{path}", headers={"Authorization": f"Bearer {self._token}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def page(self, path: str) -> str:
        """What a page shows her."""
        with self._person.open(self.url + path, timeout=30) as answer:
            return str(answer.read().decode())

    def jobs(self) -> dict[int, dict[str, Any]]:
        """Her runs by job id."""
        return {one["job_id"]: one for one in self.api("/runs?limit=100")["items"]}

    def until(self, job: int, state: str, source: str = "") -> dict[str, Any]:
        """The run as soon as it is in that state, by the word of that source if one is named."""

        def reached() -> dict[str, Any] | None:
            run = self.jobs().get(job)
            return run if run and run["state"] == state and source in ("", run["state_source"]) else None

        return wait_until(reached, PATIENCE_S, 0.5, f"job {job} is {state}: {self.jobs().get(job)}")  # type: ignore[return-value]

    def end(self) -> None:
        """Stop it."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)
        self.process.stdout.close()


@contextmanager
def own_tracker(stage: Stage) -> Iterator[Own]:
    """One that lives as long as this."""
    home = Path(tempfile.mkdtemp(prefix="tracker-of-alice-"))
    shutil.chown(home, USER)
    own = Own(stage, home)
    try:
        yield own
    finally:
        own.end()
        shutil.rmtree(home)
