"""Read back what was tracked: `tracker.Api().runs("metrics.loss < 0.3")`. Needs a server, and nothing but Python."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from array import array
from typing import Any, Iterator, Sequence
from urllib.parse import quote, urlencode

from tracker.client.keys import Key, Keys, url_at_home, ways
from tracker.client.refusals import refusal
from tracker.errors import SetupProblem, Unauthenticated, Unavailable

PAGE_RUNS = 200
ALL_POINTS = 10_000_000
"""The most that one answer holds."""
LINES_POINTS = 100_000
"""The most of several lines together."""
_JSON, _COLUMNS = "application/json", "application/octet-stream"
ANSWER_TIMEOUT_S = 60


class Api:
    """A server to read from."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        """Take the server's address and a token of `tracker token create`.

        What is not given comes from TRACKER_URL and TRACKER_TOKEN, else from the `tracker up` of the same TRACKER_HOME.
        On a cluster no token is needed: the job's own or MUNGE tells who asks. Raises SetupProblem when no server is
        known or its address is none.
        """
        self.url = (url or os.environ.get("TRACKER_URL") or _url_at_home()).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise SetupProblem(f"`{self.url[:200]}` is no address of a server: those begin with http:// or https://.")
        self._keys = Keys(iter([Key(token)]) if token else ways(self.url, os.environ))

    def runs(
        self,
        filter: str | None = None,
        order_by: str | None = None,
        *,
        experiment: str | None = None,
        user: str | None = None,
        limit: int | None = None,
    ) -> Runs:
        """Runs that fit a filter such as `metrics.loss < 0.3 and params.lr = 0.01` (docs/filters.md), newest first.

        `order_by` is an order such as `min(metrics.loss), started_at desc`. Nothing is asked before you iterate.
        """
        asked = {"filter": filter, "order_by": order_by, "experiment": experiment, "user": user}
        return Runs(self, {name: value for name, value in asked.items() if value}, limit)

    def jobs(self, user: str | None = None) -> Iterator[Run]:
        """Runs that wait or run, newest first, each with a `forecast`; of one user if one is given."""
        cursor = None
        while True:
            page = self.get("/jobs", user=user, limit=PAGE_RUNS, cursor=cursor)
            for facts in page["items"]:
                yield Run(self, facts)
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def run(self, ident: str) -> Run:
        """One run by its id, or by its job such as `dev:12` or `dev:12_3`. Raises NotFound."""
        return Run(self, self.get(f"/runs/{quote(ident, safe=':')}"))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The answer to `GET /api/v1<path>`. Raises what the server refuses with, or Unavailable."""
        return self.understood(self.ask(path, query)[0])

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a request that changes something; empty if there is none. Raises as `get` does."""
        raw = None if body is None else json.dumps(body).encode()
        answered = self.ask(path, {}, method=method, body=raw)[0]
        return self.understood(answered) if answered else {}

    def ask(
        self, path: str, query: dict[str, Any], accept: str = _JSON, *, method: str = "GET", body: bytes | None = None
    ) -> tuple[bytes, Any]:
        """The body and the headers of the answer."""
        asked = {name: value for name, value in query.items() if value is not None}
        url = f"{self.url}/api/v1{path}" + (f"?{urlencode(asked, doseq=True)}" if asked else "")
        headers = {"Accept": accept, "User-Agent": "tracker-api"}
        while True:
            try:
                return self._answered(urllib.request.Request(url, data=body, headers=headers, method=method))
            except Unauthenticated:
                if not self._keys.refused():
                    raise

    def _answered(self, request: urllib.request.Request) -> tuple[bytes, Any]:
        token = self._keys.token()
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as got:
                return got.read(), got.headers
        except urllib.error.HTTPError as refused:
            with refused:
                raise refusal(refused.code, refused.read()) from None
        except (OSError, ValueError) as problem:
            raise Unavailable(f"{self.url} does not answer: {getattr(problem, 'reason', problem)}.") from None

    def understood(self, raw: bytes) -> dict[str, Any]:
        """The JSON of a body. Raises Unavailable."""
        try:
            return _decoded(raw)
        except ValueError as problem:
            raise Unavailable(f"{self.url} does not answer: {problem}.") from None


class Runs:
    """Runs, asked for page by page as you iterate."""

    def __init__(self, api: Api, asked: dict[str, Any], limit: int | None) -> None:
        self._api = api
        self._asked = asked
        self._limit = limit

    def __iter__(self) -> Iterator[Run]:
        left, cursor = self._limit, None
        while left is None or left > 0:
            size = PAGE_RUNS if left is None else min(left, PAGE_RUNS)
            page = self._api.get("/runs", **self._asked, limit=size, cursor=cursor)
            for facts in page["items"]:
                yield Run(self._api, facts)
            left = None if left is None else left - len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def to_pandas(self) -> Any:
        """A pandas DataFrame, a row a run; columns as in `Run.flat`."""
        import pandas  # noqa: PLC0415

        return pandas.DataFrame.from_records([run.flat() for run in self])

    def to_polars(self) -> Any:
        """A polars DataFrame, a row a run; columns as in `Run.flat`."""
        import polars  # noqa: PLC0415

        return polars.from_dicts([run.flat() for run in self], infer_schema_length=None)


class Run:
    """A run. What the API tells of it are attributes: `run.state`, `run.params["lr"]`, `run.summary["loss"]["min"]`."""

    def __init__(self, api: Api, facts: dict[str, Any]) -> None:
        self._api = api
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(f"a run has no {name!r}") from None

    def __repr__(self) -> str:
        return f"<Run {self.name or self.id} {self.state}>"

    def flat(self) -> dict[str, Any]:
        """Facts, `params.<key>`, `tags.<key>` and `metrics.<name>` (the last value) on one level."""
        nested = ("params", "tags", "summary", "attempts", "waiting", "forecast", "efficiency")
        row = {name: value for name, value in self.facts.items() if name not in nested}
        row.update({f"params.{key}": value for key, value in self.params.items()})
        row.update({f"tags.{key}": value for key, value in self.tags.items()})
        row.update({f"metrics.{key}": _number(value["last"]) for key, value in self.summary.items()})
        return row

    def series(self, metric: str, *, x: str = "step", max_points: int = ALL_POINTS, **more: Any) -> Series:
        """The points of a metric over `step` or `time` (seconds since 1970): all of them, up to ten million.

        With fewer `max_points` extremes are kept. `more` are further parameters of the API, such as `rank="all"`,
        `x_min=`, `x_max=` or `thin="mean"`; several lines, of ranks, attempts or nodes, and the `min` and `max` of
        means are in `answer`. Raises NotFound.
        """
        lines = more.get("rank") in ("all", "mean") or more.get("attempts") == "all" or more.get("thin") == "mean"
        asked = {"metric": metric, "x": x, "max_points": min(max_points, LINES_POINTS) if lines else max_points, **more}
        raw, headers = self._api.ask(
            f"/runs/{self.id}/series",
            asked,
            accept=f"{_JSON}, {_COLUMNS};q=0.9" if lines else f"{_COLUMNS}, {_JSON};q=0.9",
        )
        if headers.get("Content-Type") != _COLUMNS:
            got = self._api.understood(raw)
            return Series(metric, x, got["x"], [_number(value) for value in got["y"]], got)
        answer = json.loads(headers["Tracker-Series"])
        size = len(raw) // (3 if answer.get("rests") else 2)
        xs = _column("d" if x == "time" else "q", raw[:size])
        values: Sequence[float] = _column("d", raw[size : 2 * size])
        if answer.pop("rests", False):
            rests = _column("q", raw[2 * size :])
            values = [int(value) + rest if rest else value for value, rest in zip(values, rests)]
        return Series(metric, x, xs, values, answer)

    def log(self, stream: str = "stdout", tail: int = 200) -> str:
        """The last lines of the job's output. Raises NotFound."""
        return str(self._api.get(f"/runs/{self.id}/log", stream=stream, tail=tail)["text"])


class Series:
    """Points of a metric: `x`, integers or seconds, and `y`; `answer` is what else the server said."""

    def __init__(self, metric: str, axis: str, x: Sequence[float], y: Sequence[float], answer: dict[str, Any]) -> None:
        self.metric = metric
        self.axis = axis
        self._x = x
        self._y = y
        self.answer = answer

    @property
    def x(self) -> list[float]:
        """Steps, or seconds since 1970, ascending."""
        return list(self._x)

    @property
    def y(self) -> list[float]:
        """The values as they were logged: whole numbers that no float64 is are `int`."""
        return list(self._y)

    def __len__(self) -> int:
        return len(self._y)

    def to_numpy(self) -> Any:
        """Two arrays: `x`, int64 or float64, and `y`, float64.

        `y` is int64 where float64 would round and all values are whole numbers of 64 bits.
        """
        import numpy  # noqa: PLC0415

        whole = _whole(self._y)
        y = numpy.asarray(self._y, numpy.float64) if whole is None else numpy.array(whole, numpy.int64)
        return numpy.asarray(self._x), y

    def to_pandas(self) -> Any:
        """A pandas Series of the values, indexed by step or time."""
        import pandas  # noqa: PLC0415

        x, y = self.to_numpy()
        return pandas.Series(y, pandas.Index(x, name=self.axis), dtype=y.dtype, name=self.metric)

    def to_polars(self) -> Any:
        """A polars DataFrame with the columns `step` or `time`, and the metric."""
        import polars  # noqa: PLC0415

        x, y = self.to_numpy()
        return polars.DataFrame({self.axis: x, self.metric: y})


def _url_at_home() -> str:
    url = url_at_home(os.environ)
    if url is None:
        raise SetupProblem("No server is known: give its address, set TRACKER_URL, or start `tracker up`.")
    return url


def _decoded(raw: bytes) -> dict[str, Any]:
    answer = json.loads(raw)
    if not isinstance(answer, dict):
        raise ValueError("it is no tracker server")
    return answer


def _column(kind: str, raw: bytes) -> array[Any]:
    column = array(kind, raw)
    if sys.byteorder == "big":
        column.byteswap()
    return column


def _number(value: Any) -> float:
    """What JSON says; "NaN" and "Infinity" are numbers, which it has no word for."""
    return value if type(value) is int else float(value)


def _whole(values: Sequence[float]) -> list[int] | None:
    """The values as whole numbers of 64 bits, if some are `int` and all are such; else None."""
    if isinstance(values, array) or not any(type(one) is int for one in values):
        return None
    fit = all(type(one) is int or (float(one).is_integer() and -(2.0**63) <= one < 2.0**63) for one in values)
    return [int(one) for one in values] if fit else None
