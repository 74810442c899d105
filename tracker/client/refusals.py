"""What a server refuses with, as an error of ours."""

from __future__ import annotations

import json
from typing import Callable

from tracker.errors import BadInput, Forbidden, NotFound, TrackerError, Unauthenticated, Unavailable

_ERRORS = {401: Unauthenticated, 403: Forbidden, 404: NotFound}


def refusal(status: int, raw: bytes) -> TrackerError:
    """Return the error that an answer tells of."""
    try:
        problem = json.loads(raw)
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        detail, code = f"The server answered {status}.", ""
    kind: Callable[[str], TrackerError] = _ERRORS.get(status) or (BadInput if 400 <= status < 500 else Unavailable)
    refused = kind(detail)
    refused.code = code or refused.code
    return refused
