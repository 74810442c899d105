"""Run the server: gunicorn with the Flask application."""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from tracker.errors import SetupProblem
from tracker.settings import Settings
from tracker.store.database import Database

FREE_WITHIN_S = 3.0


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
            "graceful_timeout": 5,
            "loglevel": "warning",
            "proc_name": "tracker-server",
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Flask:
        from web import create_app

        return create_app(self.settings, Database(self.settings.database_url))


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens there. Raises SetupProblem when the port is taken or the address is not ours."""
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


def serve(settings: Settings, listener: socket.socket | None = None) -> None:
    """Bring the database to the newest form and answer requests until told to stop."""
    listener = listener or listen(settings.listen, settings.port)
    database = Database(settings.database_url)
    database.upgrade()
    database.close()  # each worker makes connections of its own
    _Server(settings, listener).run()
