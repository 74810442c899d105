"""Passwords of this machine's users, by PAM: what /etc/pam.d/tracker says decides."""

from __future__ import annotations

import threading

import pamela

from tracker.errors import Unavailable
from tracker.settings import Settings
from web.auth.ways import Check

_AT_ONCE = threading.BoundedSemaphore(4)
"""A wrong password keeps its thread for two seconds, as PAM wants: others are needed for those who are in."""
_PATIENCE_S = 10.0
_AWAY = (9, 4)  # PAM_AUTHINFO_UNAVAIL, PAM_SYSTEM_ERR of Linux


def check_of(settings: Settings) -> Check:
    """The check of passwords by the PAM service of the settings."""

    def user_of(user: str, password: str) -> str | None:
        if not _AT_ONCE.acquire(timeout=_PATIENCE_S):
            raise Unavailable("Too many people log in at this moment: try again.")
        try:
            # The account must be open, too (expired, locked); no session begins, nothing is mounted.
            pamela.authenticate(user, password, service=settings.pam_service, resetcred=0)
        except pamela.PAMError as refused:
            if refused.errno in _AWAY:
                raise Unavailable("This machine cannot check passwords now: try again later.") from None
            return None
        finally:
            _AT_ONCE.release()
        return user

    return user_of
