"""Log in at a server by MUNGE: munged vouches for whose process this is, and no secret is needed or kept."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from typing import Mapping

from tracker.client.refusals import refusal
from tracker.credentials import new_claim
from tracker.errors import SetupProblem, Unavailable

_SOCKET = "/run/munge/munge.socket.2"
_TIMEOUT_S = 10
_RENEWED_AFTER = 0.8  # of its time
_MOST_ANSWER_BYTES = 64 * 1024


def is_there(env: Mapping[str, str]) -> bool:
    """Say whether a munged seems to run on this machine."""
    return shutil.which("munge") is not None and os.path.exists(env.get("TRACKER_MUNGE_SOCKET") or _SOCKET)


class MungeLogin:
    """The token that a server gives for a MUNGE credential. One serves many requests."""

    def __init__(self, url: str, env: Mapping[str, str], *, agent: bool = False) -> None:
        """Take the server's address. The token of an `agent` can do no more than deliver; it uses no proxy."""
        self._url, self._socket, self._agent = url.rstrip("/"), env.get("TRACKER_MUNGE_SOCKET"), agent
        proxies = [urllib.request.ProxyHandler({})] if agent else []
        self._opener = urllib.request.build_opener(*proxies)
        self._token = ""
        self._good_until_s = 0.0
        self._is_new = False

    def token(self) -> str:
        """Return the token; a new one when there is none or it is near its end.

        Raises SetupProblem when there is no credential to be had, what the server refuses with, or Unavailable.
        """
        self._is_new = time.monotonic() >= self._good_until_s
        if self._is_new:
            asked_s = time.monotonic()
            self._token, lifetime_s = self._exchanged(self._credential())
            self._good_until_s = asked_s + lifetime_s * _RENEWED_AFTER
        return self._token

    def forget(self) -> bool:
        """Forget the token: the server does not take it. True when it was not just made, so that another may help."""
        self._good_until_s = 0.0
        return not self._is_new

    def _credential(self) -> str:
        try:
            claim = new_claim(self._url).packed()
        except ValueError as problem:
            raise SetupProblem(f"`{self._url[:200]}` is no address of a server: {problem}.") from None
        command = ["munge", *(["-S", self._socket] if self._socket else [])]
        try:
            made = subprocess.run(command, input=claim, capture_output=True, timeout=_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise SetupProblem(f"MUNGE gives no credential: {problem}. Or set TRACKER_TOKEN.") from None
        if made.returncode:
            said = made.stderr.decode("utf-8", "replace").strip()[-300:]
            raise SetupProblem(f"MUNGE gives no credential: {said}. Or set TRACKER_TOKEN.")
        return made.stdout.decode("ascii", "replace").strip()

    def _exchanged(self, credential: str) -> tuple[str, float]:
        body = json.dumps({"credential": credential, "agent": self._agent}).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "tracker-munge"}
        asked = urllib.request.Request(f"{self._url}/api/v1/tokens:munge", data=body, headers=headers)
        try:
            with self._opener.open(asked, timeout=_TIMEOUT_S) as answer:
                told = json.loads(answer.read(_MOST_ANSWER_BYTES))
                return str(told["access_token"]), float(told["expires_in"])
        except urllib.error.HTTPError as refused:
            with refused:
                raise refusal(refused.code, refused.read(_MOST_ANSWER_BYTES)) from None
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise Unavailable(f"{self._url} does not answer: {getattr(problem, 'reason', problem)}.") from None
