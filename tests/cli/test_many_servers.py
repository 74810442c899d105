"""Two servers behind nginx, a primary and its standby: each of them may die while people look and agents deliver."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.agent_side import ADMIN, lines, points
from tests.cli.test_server import is_ready
from tests.conftest import ROOT, wait_until
from tests.ports import free_ports
from tests.postgres import Postgres, Standby
from tracker.events import INGEST_TYPE, encode_request
from tracker.store import charts, runs, tokens
from tracker.store.database import Database

READERS, SENDERS = 2, 2


class Site:
    """What an administrator sets up: nginx with the sample of config/, two servers, a primary and a standby."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.primary = Postgres()
        self.primary.start()
        self.standby = Standby(self.primary)
        self.standby.start()
        self.ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self.ports[2]}"
        hosts = "host=127.0.0.1,127.0.0.1&port={},{}".format(*(one.url.rpartition(":")[2] for one in self.machines))
        self.database_url = f"postgresql://postgres@/postgres?{hosts}&target_session_attrs=read-write"
        self.servers = [self.start_server(number) for number in range(2)]
        self.nginx = self._start_nginx()

    @property
    def machines(self) -> tuple[Postgres, Standby]:
        return self.primary, self.standby

    def start_server(self, number: int) -> subprocess.Popen[bytes]:
        environ = {
            **os.environ, "PYTHONPATH": str(ROOT), "TRACKER_HOME": str(self.folder), "TRACKER_WEB_WORKERS": "1",
            "TRACKER_DATABASE": self.database_url, "TRACKER_DATABASE_REPLICA": f"{self.standby.url}/postgres",
        }  # fmt: skip
        words = [sys.executable, "-m", "tracker", "server", "--port", str(self.ports[number])]
        with (self.folder / f"server{number}.log").open("ab") as log:
            return subprocess.Popen(words, env=environ, cwd="/", stderr=log, start_new_session=True)

    def kill_server(self, number: int) -> None:
        os.killpg(self.servers[number].pid, signal.SIGKILL)
        self.servers[number].wait()

    def reads_standby(self, number: int) -> bool:
        """Whether the last that a server said of the replica is that it is read."""
        said = re.findall(r"The replica is (\w+)", (self.folder / f"server{number}.log").read_text())
        return said[-1:] == ["read"]

    def _start_nginx(self) -> subprocess.Popen[bytes]:
        sample = (ROOT / "config" / "nginx" / "tracker.conf").read_text()
        for told, port in zip(("127.0.0.1:8265", "127.0.0.1:8266", "listen 80"), self.ports, strict=True):
            assert told in sample
            sample = sample.replace(told, f"{told.rpartition(':')[0] or 'listen 127.0.0.1'}:{port}")
        (self.folder / "tracker.conf").write_text(sample)
        places = "".join(
            f"{name}_temp_path {self.folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self.folder / "nginx.conf").write_text(
            f"daemon off; user root; pid {self.folder}/nginx.pid; error_log {self.folder}/nginx.log;"
            f"events {{}} http {{ access_log off; {places} include {self.folder}/tracker.conf; }}"
        )
        return subprocess.Popen(["/usr/sbin/nginx", "-c", self.folder / "nginx.conf", "-p", self.folder])

    def remove(self) -> None:
        self.nginx.terminate()
        self.nginx.wait()
        for number in range(2):
            self.kill_server(number)
        for machine in reversed(self.machines):
            machine.remove()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.remove()


class Load:
    """People who look and agents that deliver, all the time."""

    def __init__(self, site: Site, reader: str, sender: str) -> None:
        self.site, self.reader, self.sender = site, reader, sender
        self.stop, self.problems = threading.Event(), list[str]()
        self.read, self.sent = 0, [0] * SENDERS
        self.threads = [threading.Thread(target=self._look) for _ in range(READERS)]
        self.threads += [threading.Thread(target=self._send, args=(number,)) for number in range(SENDERS)]

    def _ask(self, path: str, token: str, body: bytes | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {token}"} | ({"Content-Type": INGEST_TYPE} if body else {})
        request = urllib.request.Request(self.site.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bytes(answer.read())

    def _look(self) -> None:
        while not self.stop.is_set():
            for path in ("/api/v1/runs?limit=5", "/api/v1/runs/dev:1/series?metric=loss&max_points=50", "/?fragment=1"):
                try:
                    self._ask(path, self.reader)
                    self.read += 1
                except OSError as problem:
                    self.problems.append(f"{path}: {problem}")

    def _send(self, number: int) -> None:
        """As an agent does: again what was not answered, and on from where the server says that it is."""
        stream = b"".join(lines("", one)[1] for one in points(100_000))
        ends = [found.end() for found in re.finditer(rb"\n", stream)]
        offset = 0
        while not self.stop.is_set():
            end = next((end for end in ends if end > offset + 400), ends[-1])
            part, raw = lines(f"dev.{number + 1}", writer="w1", offset=offset)[0], stream[offset:end]
            agent = {"node": "n1", "cluster": "dev", "time": time.time()}
            manifest = {"version": 1, "agent": agent, "folders": [], "parts": [{**part, "length": len(raw)}]}
            try:
                answer = self._ask("/api/v1/ingest", self.sender, encode_request(manifest, [raw]))
            except OSError:
                self.stop.wait(0.1)
                continue
            offset = int(re.search(rb'"offset":\s*(\d+)', answer)[1])  # type: ignore[index]
            self.sent[number] = stream[:offset].count(b"\n")

    def goes_on(self) -> None:
        """Wait until everybody has got on a little."""
        read, sent = self.read, list(self.sent)
        wait_until(
            lambda: self.read > read + 6 and all(now > then + 20 for now, then in zip(self.sent, sent, strict=True)),
            within_s=60, what=f"the load goes on: {self.problems[-3:]}",
        )  # fmt: skip


def test_each_may_die_under_load(site: Site) -> None:
    for port in site.ports:
        wait_until(lambda port=port: is_ready(port), within_s=60)  # type: ignore[misc]
    db = Database(site.database_url)
    with db.write() as session:
        reader = tokens.create(session, "root", "admin", tokens.API, timedelta(hours=1))
        sender = tokens.create(session, "agent", "node", tokens.NODE, timedelta(hours=1))
    load = Load(site, reader, sender)
    for thread in load.threads[READERS:]:
        thread.start()
    wait_until(lambda: all(load.sent))
    for thread in load.threads[:READERS]:
        thread.start()
    try:
        load.goes_on()
        site.kill_server(0)
        load.goes_on()
        site.servers[0] = site.start_server(0)
        wait_until(lambda: is_ready(site.ports[0]), within_s=60)
        site.standby.stop(signal.SIGQUIT)
        load.goes_on()
        site.standby.start()
        wait_until(lambda: all(map(site.reads_standby, range(2))))
        site.primary.stop(signal.SIGQUIT)
        read = load.read
        wait_until(lambda: load.read > read + 6)  # the standby is all there is
        site.standby.promote()
        load.goes_on()
    finally:
        load.stop.set()
        for thread in load.threads:
            thread.join()
    # Who was just being answered when somebody died may ask again; nobody else notices anything.
    assert len(load.problems) <= 4 * READERS, load.problems
    with db.read() as session:
        for number in range(SENDERS):
            run = runs.get(session, ADMIN, f"dev:{number + 1}")
            (summary,) = run.summary
            shown = charts.read(session, run.id, "loss", max_points=1_000_000).curve
            assert shown.x.tolist() == list(range(summary.count))
            assert summary.count >= load.sent[number]
    db.close()
