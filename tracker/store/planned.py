"""Statements that PostgreSQL plans once a connection: to plan some takes it longer than to answer them.

Only for statements that look up by keys: they are planned without a look at their parameters, and never to read a
whole table, however small it was at that moment.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, event
from sqlalchemy.exc import NotSupportedError

ONCE = {"tracker_planned_once": True}
"""The execution options of such a statement."""
_SETTINGS = (
    "jit = off", "plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_hashjoin = off",
    "enable_mergejoin = off",
)  # fmt: skip
_PLACE = re.compile(r"%\((\w+)\)s")


def install(engine: Engine) -> None:
    """Let the connections of this engine, which are of PostgreSQL, plan statements once that have the options ONCE."""
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "before_cursor_execute", _executed, retval=True)
    event.listen(engine, "handle_error", _give_up)


def _prepare(connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET {one}" for one in _SETTINGS))
    connection.commit()


def _executed(
    connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, _many: bool
) -> tuple[str, Any]:
    """What is sent in place of a statement whose parameters have names."""
    if context is None or not context.execution_options.get("tracker_planned_once"):
        return statement, parameters
    known: dict[str, str] = connection.info.setdefault("tracker_planned", {})
    if statement not in known:
        places = list(dict.fromkeys(_PLACE.findall(statement)))
        numbered = _PLACE.sub(lambda found: f"${places.index(found[1]) + 1}", statement).replace("%%", "%")
        name = f"tracker_{len(known)}"
        cursor.execute(f"PREPARE {name} AS {numbered}")
        arguments = f"({', '.join(f'%({place})s' for place in places)})" if places else ""
        known[statement] = f"EXECUTE {name}{arguments}"
    return known[statement], parameters


def _give_up(context: ExceptionContext) -> None:
    """PostgreSQL refuses for ever what it planned before a column got another type: the connections are made anew."""
    if isinstance(context.sqlalchemy_exception, NotSupportedError):
        context.is_disconnect = True
