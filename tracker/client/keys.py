"""What a program of this user shows a server: a token of theirs, of their job, or one that MUNGE vouches for."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Iterator, Mapping, Union

from tracker.client import munge
from tracker.client.files import read_piece
from tracker.client.identity import slurm_job
from tracker.client.munge import MungeLogin
from tracker.client.spool import home, places
from tracker.errors import SetupProblem, TrackerError, Unauthenticated, Unavailable

JOB_TOKEN = "token"
_MOST_BYTES = 4096


class Key:
    """A token that was given. From a file it is read each time, so that it can be changed in place."""

    def __init__(self, token: str | None, token_file: str | None = None) -> None:
        """Take the token or the file's name. Raises SetupProblem when the file cannot be read now."""
        self._token, self._file = token, token_file
        if token_file:
            self._token = self._read(token_file)

    def token(self) -> str | None:
        """Return the token; None when none was given."""
        if self._file:
            with suppress(SetupProblem):  # the one that was there before will do
                self._token = self._read(self._file)
        return self._token

    def forget(self) -> bool:
        """Say that there is no other."""
        return False

    @staticmethod
    def _read(path: str) -> str:
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise SetupProblem(f"The token in {path} cannot be read: {problem}.") from problem


Way = Union[Key, MungeLogin]


def ways(url: str, env: Mapping[str, str]) -> Iterator[Way]:
    """Yield what this process may show the server at an address, best first."""
    if env.get("TRACKER_TOKEN"):
        yield Key(env["TRACKER_TOKEN"])
        return
    at_home = _read(f"{home(env)}/keys/api.token")
    is_at_home = url == url_at_home(env)
    if at_home and is_at_home:
        yield Key(at_home)
    of_job = _of_job(env)
    if of_job:
        yield Key(of_job)
    if munge.is_there(env):
        yield MungeLogin(url, env)
    if at_home and not is_at_home:  # the same server, by another name perhaps
        yield Key(at_home)


class Keys:
    """What is shown: the first of some ways with which the server is content."""

    def __init__(self, found: Iterator[Way]) -> None:
        self._ways = found
        self._way = next(found, None)
        self._problem: TrackerError | None = None

    def token(self) -> str | None:
        """Return a token, None when there is none.

        Raises Unavailable or Unauthenticated when one way gives none, which tells why, and no other does.
        """
        while self._way is not None:
            try:
                return self._way.token()
            except TrackerError as problem:
                self._problem = self._problem or problem
                self._way = next(self._ways, None)
        if isinstance(self._problem, Unavailable):
            raise self._problem
        if self._problem is not None:
            raise Unauthenticated(f"No token is known: {self._problem}")
        return None

    def refused(self) -> bool:
        """Take note that the server does not take the token. True when it is worth to ask again."""
        if self._way is not None and not self._way.forget():
            self._way = next(self._ways, None)
        return self._way is not None


def url_at_home(env: Mapping[str, str]) -> str | None:
    """Return the address of the `tracker up` of the same TRACKER_HOME; None where none runs."""
    try:
        with open(f"{home(env)}/server.json", encoding="utf-8") as file:
            return str(json.load(file)["url"]).rstrip("/")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _of_job(env: Mapping[str, str]) -> str | None:
    """The token that the agent put into the folder of this process's job."""
    if slurm_job(env) is None:
        return None
    found = (_read(os.path.join(place.folder, JOB_TOKEN)) for place in places(env))
    return next((token for token in found if token), None)


def _read(path: str) -> str | None:
    try:
        return read_piece(path, _MOST_BYTES).decode("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
