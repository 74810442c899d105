"""slurmrestd: where it listens, which version of its API it speaks, and one question after the other."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tracker.errors import SlurmUnavailable

Json = dict[str, Any]
Get = Callable[[str], Json]
"""Gives the answer to a GET of a path with its query."""

MAX_ANSWER_BYTES = 512 * 2**20  # 60,000 jobs of 8 KB
OLDEST, NEWEST = 36, 45
"""The versions `v0.0.N` of the API whose answers are understood, of Slurm 22.05 and 26.05."""
_LISTS_ARE_REPEATED_SINCE = 40
"""Before, a list is one word with commas, which 24.11 and 26.05 promise to take and refuse."""


_NOTHING_FOUND = 9003
"""ESLURM_REST_EMPTY_RESULT: 22.05 says so of accounting that has no such job."""
_PERHAPS_REFUSED = (1007, 7000, -1)
"""What is said when slurmctld or slurmdbd refuses a token: 24.11 and 26.05 say 1007 of the controller and 7000 of
accounting (also when that is down), 22.05 an error without a name of the controller and 1007 of accounting."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Slurmrestd:
    """Asks the slurmrestd at `unix:/path` or `http://host:port`.

    A token is that of `scontrol token`; it is read anew for each question, so that it may be renewed in its file.
    """

    def __init__(self, address: str, *, token_file: str, user: str, timeout_s: float) -> None:
        self._address, self._token_file, self._user, self._timeout_s = address, token_file, user, timeout_s

    def get(self, path: str) -> Json:
        """The answer to a GET. Raises SlurmUnavailable when there is none or slurmrestd tells of an error."""
        try:
            connection = self._connection()
            try:
                connection.request("GET", path, headers={"Accept": "application/json", **self._credentials()})
                with connection.getresponse() as answer:
                    status, body = answer.status, answer.read(MAX_ANSWER_BYTES + 1)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as problem:
            said = str(problem) or type(problem).__name__
            raise SlurmUnavailable(f"slurmrestd at {self._address} does not answer: {said}.") from None
        return _understood(path, status, body, self._token_file)

    def _connection(self) -> http.client.HTTPConnection:
        if self._address.startswith("unix:"):
            return _UnixConnection(self._address.removeprefix("unix:"), self._timeout_s)
        where = urlsplit(self._address)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        return kind(where.hostname or "", where.port, timeout=self._timeout_s)

    def _credentials(self) -> Mapping[str, str]:
        if not self._token_file:
            return {}
        try:
            token = Path(self._token_file).read_text().strip().removeprefix("SLURM_JWT=")
        except OSError as problem:
            raise SlurmUnavailable(f"The token in {self._token_file} cannot be read: {problem.strerror}.") from None
        if problem_of_it := _why_useless(token, self._user):
            raise SlurmUnavailable(f"The token in {self._token_file} {problem_of_it}.")
        return {"X-SLURM-USER-NAME": self._user, "X-SLURM-USER-TOKEN": token}


def _why_useless(token: str, user: str) -> str:
    """What is wrong with a token as far as it says itself; empty for one that says nothing. Slurm judges the rest."""
    try:
        claims = token.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    except (IndexError, ValueError):
        return ""
    expires_s, owner = (said.get("exp"), said.get("sun")) if isinstance(said, dict) else (None, None)
    if isinstance(expires_s, (int, float)) and expires_s <= time.time():
        return "has expired: make another one with `scontrol token lifespan=SECONDS`"
    if isinstance(owner, str) and owner != user:
        return f"is not {user}'s: set `slurmrestd_user` to its owner"
    return ""


def _understood(path: str, status: int, body: bytes, token_file: str) -> Json:
    if len(body) > MAX_ANSWER_BYTES:
        raise SlurmUnavailable(f"slurmrestd's answer to {path} is larger than {MAX_ANSWER_BYTES} bytes.")
    if status == 401:
        raise SlurmUnavailable("slurmrestd refuses us (401): is `slurmrestd_token_file` set, and its token valid?")
    try:
        answer = json.loads(body)
    except ValueError:
        raise SlurmUnavailable(f"slurmrestd's answer to {path} is no JSON (status {status}).") from None
    if not isinstance(answer, dict):
        raise SlurmUnavailable(f"slurmrestd's answer to {path} is no object (status {status}).")
    problems = [one for one in answer.get("errors") or () if isinstance(one, dict)]
    if status < 400 and all(one.get("error_number") == _NOTHING_FOUND for one in problems):
        return answer
    words = problems[0] if problems else {}
    said = words.get("description") or words.get("error") or f"status {status}"
    if token_file and words.get("error_number") in _PERHAPS_REFUSED:
        said = f"{said} (Slurm is down, or refuses the token in {token_file})"
    raise SlurmUnavailable(f"slurmrestd says to {path.partition('?')[0]}: {str(said)[:300]}.")


class Api:
    """The newest version of slurmrestd's API that it and we know, discovered from what it publishes."""

    def __init__(self, get: Get) -> None:
        self._get = get
        self._paths: Json = {}

    def ask(
        self, part: str, what: str, query: Mapping[str, str | Sequence[str]] | None = None, **if_known: str
    ) -> Json:
        """The answer of `slurm` or `slurmdb` to `jobs`, `nodes` and the like.

        What is in `if_known` is added to the query where this version knows it. After an error it looks anew at what
        slurmrestd publishes: it may be another version by now.
        """
        try:
            return self._asked(part, what, query or {}, if_known)
        except SlurmUnavailable:
            self._paths = {}
            raise

    def _asked(
        self, part: str, what: str, query: Mapping[str, str | Sequence[str]], if_known: Mapping[str, str]
    ) -> Json:
        path, version = self._path(part, what)
        known = {one.get("name") for one in self._paths[path].get("get", {}).get("parameters", ())}
        wanted = {**query, **{key: value for key, value in if_known.items() if key in known}}
        if version < _LISTS_ARE_REPEATED_SINCE:
            wanted = {key: value if isinstance(value, str) else ",".join(value) for key, value in wanted.items()}
        return self._get(f"{path}?{urlencode(wanted, doseq=True)}" if wanted else path)

    def _path(self, part: str, what: str) -> tuple[str, int]:
        if not self._paths:
            self._paths = self._get("/openapi/v3").get("paths") or {}
        shape = re.compile(rf"/{part}/v0\.0\.(\d+)/{what}/?\Z")
        offered = {int(found[1]): path for path in self._paths if (found := shape.match(path))}
        known = [version for version in offered if OLDEST <= version <= NEWEST]
        if not known:
            told = ", ".join(f"v0.0.{one}" for one in sorted(offered)) or "none"
            wanted = f"v0.0.{OLDEST} to v0.0.{NEWEST}"
            raise SlurmUnavailable(f"slurmrestd offers no {part} API that we know ({wanted}), but {told}.")
        return offered[max(known)], max(known)
