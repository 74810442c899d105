"""Run the server: gunicorn with the Flask application."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from tracker.cli.chores import Chores
from tracker.errors import SetupProblem
from tracker.settings import Settings
from tracker.store.database import Database

FREE_WITHIN_S = 3.0


class _Arbiter(Arbiter):  # type: ignore[misc]  # gunicorn carries no types
    """Keeps the workers alive, and the process that does the chores beside them."""

    def __init__(self, app: _Server) -> None:
        super().__init__(app)
        self.chores = Chores(app.settings)

    def manage_workers(self) -> None:
        """Called every second."""
        super().manage_workers()
        self.chores.keep_alive()

    def stop(self, graceful: bool = True) -> None:
        """Called at the end."""
        self.chores.stop()
        super().stop(graceful)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn carries no types
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self.settings, self.listener = settings, listener
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": f"fd://{self.listener.fileno()}",
            "workers": self.settings.web_workers,
            "threads": self.settings.web_threads,
            "worker_class": "gthread",
            "worker_tmp_dir": "/dev/shm",  # a heartbeat file on a slow disk would get workers killed
            "control_socket_disable": True,
            "keepalive": 75,
            "limit_request_line": 8190,  # a filter is long
            "graceful_timeout": 5,
            "loglevel": "warning",
            "proc_name": "tracker-server",
            "logconfig_dict": _logging(self.settings.log_requests != "no"),
            "child_exit": _forget_figures,
            **self._proxies(),
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def _proxies(self) -> dict[str, Any]:
        """Whose word on the scheme (http or https) is believed; gunicorn itself believes those of this machine."""
        named = [word for word in self.settings.trusted_proxies.replace(",", " ").split() if word != "unix"]
        return {"forwarded_allow_ips": ",".join(named)} if named else {}

    def run(self) -> None:
        _Arbiter(self).run()

    def load(self) -> Flask:
        from web import create_app

        told = self.settings
        return create_app(told, Database(told.database_url, told.database_replica, told.replica_max_lag_s))


def _logging(requests: bool) -> dict[str, Any]:
    """JSON lines on stderr: warnings and worse of everybody, and a line for each request."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "web.logs.JsonLines"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
            "gunicorn.access": {"level": "WARNING", "handlers": ["stderr"], "propagate": False},
            "tracker.requests": {"level": "INFO" if requests else "WARNING"},
        },
    }


def _forget_figures(_arbiter: Any, worker: Any) -> None:
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens there. Raises SetupProblem when the port is taken or the address is not ours."""
    if address.startswith("unix:"):
        return _listen_at(Path(address.removeprefix("unix:")))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    deadline = time.monotonic() + FREE_WITHIN_S
    while True:
        try:
            listener.bind((address, port))
            listener.listen(1024)
            break
        except OSError as problem:
            if problem.errno == errno.EADDRINUSE and time.monotonic() < deadline:
                time.sleep(0.1)  # a server that was killed lets go of its port a moment later
                continue
            listener.close()
            raise SetupProblem(
                f"Port {port} of {address} cannot be used ({problem.strerror}): choose another with --port."
            ) from None
    listener.set_inheritable(True)
    return listener


def _listen_at(path: Path) -> socket.socket:
    """A Unix socket there, for its owner and its group alone. Raises SetupProblem."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            path.unlink()  # of a server that was killed
        before = os.umask(0o117)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(1024)
    except OSError as problem:
        listener.close()
        raise SetupProblem(
            f"The socket {path} cannot be made ({problem.strerror}): choose another with `listen`."
        ) from None
    listener.set_inheritable(True)
    return listener


def serve(settings: Settings, listener: socket.socket | None = None) -> None:
    """Bring the database to the newest form and answer requests until told to stop."""
    listener = listener or listen(settings.listen, settings.port)
    database = Database(settings.database_url, settings.database_replica)
    database.upgrade()
    database.close()  # each worker makes connections of its own
    figures, master = tempfile.mkdtemp(prefix="tracker-figures-"), os.getpid()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures  # read when the library is loaded: each worker counts there
    try:
        _Server(settings, listener).run()
    finally:
        if os.getpid() == master:  # workers end here, too
            shutil.rmtree(figures, ignore_errors=True)
