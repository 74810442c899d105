"""Users of this machine log in with their password, as a real PAM service says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Templates
from tracker.settings import Settings
from tracker.store import audit
from tracker.store.database import Database
from web import create_app

SERVICE = f"tracker-test-{os.getpid()}"
USER, SECRET = f"trackertest{os.getpid()}", "correct horse battery"
RULES = "auth required pam_unix.so nodelay\naccount required pam_unix.so\n"


def do(*words: str, said: str = "") -> None:
    subprocess.run(words, input=said, text=True, check=True, capture_output=True)


@pytest.fixture
def user() -> Iterator[str]:
    """A user of this machine with a password, and a file in /etc/pam.d."""
    service = Path("/etc/pam.d") / SERVICE
    service.write_text(RULES)
    do("useradd", "--no-create-home", "--shell", "/bin/false", USER)
    try:
        do("chpasswd", said=f"{USER}:{SECRET}\n")
        yield USER
    finally:
        do("userdel", USER)
        service.unlink()


def test_a_user_of_this_machine_logs_in(user: str, tmp_path: Path, templates: Templates) -> None:
    templates.sqlite(tmp_path / "tracker.db")
    db = Database(f"sqlite:///{tmp_path / 'tracker.db'}")
    told = Settings(logins="pam", pam_service=SERVICE, login_limit="", admins=user)
    client = create_app(told, db).test_client()

    def status(name: str, password: str) -> int:
        form = {"user": name, "password": password}
        return client.post("/login", data=form, headers={"Sec-Fetch-Site": "same-origin"}).status_code

    assert status(user, "wrong") == 401
    assert status("nobody-of-this-name", SECRET) == 401
    assert status(user, "") == 401
    assert status(user, SECRET + "\0") == 401
    assert status(f"{user}\0x", SECRET) == 401
    assert status(user, SECRET) == 303
    assert client.get("/api/v1/audit").status_code == 200, "`admins` says that they are one"
    do("usermod", "--expiredate", "1", user)
    assert status(user, SECRET) == 401, "an account that is over is, whatever its password"
    with db.read() as session:
        assert [one.detail for one in audit.find(session, action="login", actor=user).items] == ["pam"]
    db.close()
