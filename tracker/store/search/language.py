"""The filter language: from text to a tree of conditions. What the words mean is told in docs/filters.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Union

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, VisitError

from tracker.errors import BadFilter

MOST_CHARS = 4000
MOST_CONDITIONS = 50
MOST_ORDERS = 3

Value = Union[float, str]

_PLAIN = re.compile(r"[A-Za-z0-9_][\w./:@-]*")
"""Names that need no quotes: as in `NAME` of the grammar."""

_COLLECTIONS = {
    "metric": "metrics", "metrics": "metrics",
    "param": "params", "params": "params", "parameter": "params", "parameters": "params",
    "tag": "tags", "tags": "tags",
    "attribute": "attributes", "attributes": "attributes", "attr": "attributes", "run": "attributes",
}  # fmt: skip
_EXPECTED = {
    "NAME": "a field such as `metrics.loss`, `params.lr`, `tags.stage` or `state`",
    "value": 'a value such as 0.3 or "alice"',
    "TEXT": 'a text in quotes such as "alice"',
    "COMPARE": "one of = != < <= > >=",
    "LIKE": "`like`",
    "_IN": "`in`",
    "_IS": "`is null`",
    "_AND": "`and`",
    "_OR": "`or`",
    "_NULL": "`null`",
    "DIRECTION": "`asc` or `desc`",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "COMMA": "`,`",
    "$END": "the end",
}


@dataclass(frozen=True)
class Field:
    """What a condition is about: `kind` is metrics, params, tags or attributes; `of` a part of a metric's summary."""

    kind: str
    name: str
    of: str
    column: int


@dataclass(frozen=True)
class Compared:
    """`field operator value`; `bare` when the value is a word without quotes."""

    field: Field
    operator: str
    value: Value
    bare: bool = False


@dataclass(frozen=True)
class Among:
    """`field in (values)`."""

    field: Field
    values: tuple[Compared, ...]


@dataclass(frozen=True)
class Alike:
    """`field like "a%"`: % is any text, _ any character."""

    field: Field
    pattern: str
    any_case: bool


@dataclass(frozen=True)
class Present:
    """`field is not null`."""

    field: Field


@dataclass(frozen=True)
class Not:
    """The opposite."""

    part: Condition


@dataclass(frozen=True)
class Every:
    """All parts are true."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Some:
    """At least one part is true."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Order:
    """Sort by the field."""

    field: Field
    descending: bool


Condition = Union[Compared, Among, Alike, Present, Not, Every, Some]


def parse(text: str) -> Condition:
    """Read a filter. Raises BadFilter, which points at the column (counted from 1) and says what was expected."""
    builder = _Builder()
    condition: Condition = _built(text, "filter", builder)
    if builder.count > MOST_CONDITIONS:
        raise BadFilter(f"A filter has at most {MOST_CONDITIONS} conditions, this one {builder.count}.")
    return condition


def parse_order(text: str) -> tuple[Order, ...]:
    """Read an order such as `metrics.loss, started_at desc`. Raises BadFilter as `parse` does."""
    orders: tuple[Order, ...] = _built(text, "orders", _Builder())
    if len(orders) > MOST_ORDERS:
        raise BadFilter(f"An order has at most {MOST_ORDERS} fields, this one {len(orders)}.")
    return orders


def _built(text: str, start: str, builder: _Builder) -> Any:
    if len(text) > MOST_CHARS:
        raise BadFilter(f"A filter or an order has at most {MOST_CHARS} characters, this one {len(text)}.")
    try:
        return builder.transform(_parser(start).parse(text))
    except UnexpectedInput as problem:
        raise BadFilter(_sentence(text, problem)) from None
    except VisitError as problem:
        raise problem.orig_exc from None
    except RecursionError:
        raise BadFilter("This filter is nested too deeply.") from None


def field_named(text: str, column: int = 1, of: str = "last") -> Field:
    """Read a field such as `metrics.loss`, `params."learning rate"` or `state`. Raises BadFilter."""
    head, dot, rest = text.partition(".")
    if not dot:
        return Field("attributes", text, "last", column)
    kind = _COLLECTIONS.get(head.lower())
    if kind is None:
        raise BadFilter(f"At column {column}: there is no `{head}.`; write metrics., params., tags. or attributes.")
    name = rest[1:-1] if rest[0] in "\"'`" else rest
    if of != "last" and kind != "metrics":
        raise BadFilter(f"At column {column}: `{of}(...)` is of metrics only.")
    return Field(kind, name, of, column)


def written(field: Field) -> str:
    """The field as it is written in a filter."""
    if field.kind == "attributes":
        return field.name
    needs_none = _PLAIN.fullmatch(field.name) is not None
    quote = "" if needs_none else next((one for one in "\"`'" if one not in field.name), "")
    name = f"{field.kind}.{quote}{field.name}{quote}"
    return f"{field.of}({name})" if field.of != "last" else name


def quoted(text: str) -> str:
    """A text as it is written in a filter."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@cache
def _parser(start: str) -> Lark:
    grammar = files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", start=start, propagate_positions=True, maybe_placeholders=False)


PARTS_OF_METRICS = ("last", "min", "max", "mean", "count", "last_step")


@v_args(inline=True)
class _Builder(Transformer[Token, Condition]):
    """Turns lark's tree into ours."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def field(self, first: Token, inner: Token | None = None) -> Field:
        column = first.column or 1
        if inner is None:
            return field_named(str(first), column)
        part = str(first).lower()
        if part not in PARTS_OF_METRICS:
            known = ", ".join(PARTS_OF_METRICS)
            raise BadFilter(f"At column {column}: there is no `{first}(...)`; of a metric there are {known}.")
        return field_named(str(inner), inner.column or 1, part)

    def order(self, field: Field, direction: Token | None = None) -> Order:
        return Order(field, str(direction or "").lower() == "desc")

    def orders(self, *orders: Order) -> tuple[Order, ...]:
        return orders

    def number(self, token: Token) -> tuple[Value, bool]:
        return float(token), False

    def text(self, token: Token) -> tuple[Value, bool]:
        return re.sub(r"\\(.)", r"\1", str(token)[1:-1], flags=re.DOTALL), False

    def word(self, token: Token) -> tuple[Value, bool]:
        return str(token), True

    def compared(self, field: Field, operator: Token, value: tuple[Value, bool]) -> Condition:
        self.count += 1
        return Compared(field, {"==": "=", "<>": "!="}.get(str(operator), str(operator)), *value)

    def among(self, field: Field, *values: tuple[Value, bool]) -> Condition:
        self.count += len(values)
        return Among(field, tuple(Compared(field, "=", *value) for value in values))

    def not_among(self, field: Field, *values: tuple[Value, bool]) -> Condition:
        return Every((Present(field), Not(self.among(field, *values))))

    def alike(self, field: Field, like: Token, pattern: tuple[Value, bool]) -> Condition:
        self.count += 1
        return Alike(field, str(pattern[0]), any_case=str(like).lower() == "ilike")

    def not_alike(self, field: Field, like: Token, pattern: tuple[Value, bool]) -> Condition:
        return Every((Present(field), Not(self.alike(field, like, pattern))))

    def present(self, field: Field) -> Condition:
        self.count += 1
        return Present(field)

    def missing(self, field: Field) -> Condition:
        return Not(self.present(field))

    def negated(self, part: Condition) -> Condition:
        return Not(part)

    def both(self, *parts: Condition) -> Condition:
        return Every(parts)

    def either(self, *parts: Condition) -> Condition:
        return Some(parts)


def _sentence(text: str, problem: UnexpectedInput) -> str:
    if isinstance(problem, UnexpectedCharacters):
        expected, at = problem.allowed or set(), problem.column
        found = f"`{text[problem.pos_in_stream or 0]}`"
    else:
        token: Any = getattr(problem, "token", None)
        expected = getattr(problem, "accepts", None) or getattr(problem, "expected", None) or set()
        is_end = isinstance(problem, UnexpectedEOF) or token is None or token.type == "$END"
        found, at = ("the end", len(text) + 1) if is_end else (f"`{str(token)[:40]}`", token.column)
    expected = set(expected)
    if {"NUMBER", "TEXT"} <= expected:
        expected = {"value"}
    elif "COMPARE" in expected:
        expected.discard("LPAR")  # only names of functions are followed by one
    words = [word for name, word in _EXPECTED.items() if name in expected]
    wanted = f"expected {', '.join(words[:-1]) + ' or ' if words[:-1] else ''}{words[-1]}, " if words else ""
    return f"At column {at}: {wanted}found {found}."
