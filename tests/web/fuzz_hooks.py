"""What schemathesis must be told: an agent's request is bytes."""

from __future__ import annotations

from typing import Any

import schemathesis

from tracker.events import INGEST_TYPE


@schemathesis.serializer(INGEST_TYPE)
def as_bytes(_context: Any, value: Any) -> Any:
    """Whatever was thought up, as bytes."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
