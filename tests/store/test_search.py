"""Finding runs by what they logged, were given and became: the same on both databases."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web import samples
from tracker.errors import BadFilter, BadInput
from tracker.store import experiments, params, results, runs
from tracker.store.database import Database
from tracker.store.identity import Identity
from tracker.store.search import candidates
from tracker.store.search.language import Compared, Field, parse, parse_order, quoted, written
from tracker.store.search.orders import Sorting
from tracker.store.search.pages import Search

ADMIN = Identity("root", "admin")


@pytest.fixture(params=["points come", "results are made", "few", "few together", "many"])
def zoo(request: pytest.FixtureRequest, db: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Six runs, told apart by their names; whatever way they are found, they are the same ones in the same order."""
    few_runs = {"few": 1000, "few together": 1, "many": -1}.get(request.param)
    if few_runs is not None:
        monkeypatch.setattr(candidates, "FEW_RUNS", few_runs)
    told = [
        ("good", "COMPLETED", {"lr": "0.01", "optimizer": "adam"}, [1.0, 0.2], {"stage": "xfinal"}),
        ("better", "COMPLETED", {"lr": "0.001", "optimizer": "Adam"}, [1.0, 0.1], {"stage": "draft"}),
        ("broken", "FAILED", {"lr": "0.1"}, [1.0, float("nan")], {}),
        ("slow", "TIMEOUT", {"lr": "1e-2"}, [3.0, 2.0], {"a b": "x"}),
        ("silent", "COMPLETED", {}, [], {}),
        ("alive", "RUNNING", {"lr": "ten"}, [0.5], {}),
    ]
    with db.write() as session:
        for age, (name, state, given_params, losses, tags) in enumerate(told):
            took_s = None if state == "RUNNING" else 100.0 * (age + 1)
            run = samples.add_run(
                session, name=name, state=state, age_s=10_000 - age * 1000, took_s=took_s,
                user="bob" if name == "slow" else "alice", experiment="pets" if age < 2 else "others",
            )  # fmt: skip
            params.set_params(session, run.id, given_params)
            params.set_tags(session, run.id, tags)
            if losses:
                samples.log(session, run, "loss", losses)
    if request.param != "points come":
        with db.write() as session:
            assert results.make(session) == 4  # of those that are over, one has logged nothing
    return db


def _names(db: Database, filter_text: str, order: str = "name") -> list[str]:
    with db.read() as session:
        where = parse(filter_text) if filter_text else None
        return [str(run.name) for run in runs.find(session, ADMIN, where=where, orders=parse_order(order)).items]


FOUND = [
    ("metrics.loss < 0.3", "better good"),
    ("metrics.loss >= 0.3", "alive slow"),
    ("metrics.loss = NaN", "broken"),
    ("min(metrics.loss) < 0.15", "better"),
    ("mean(metrics.loss) > 1", "slow"),
    ("count(metrics.loss) = 1", "alive"),
    ("last_step(metrics.`loss`) = 1", "better broken good slow"),
    ("metrics.loss is null", "silent"),
    ('params.lr = "0.01"', "good"),
    ("params.lr = 0.01", "good slow"),
    ("params.lr < 0.05", "better good slow"),
    ('params.lr != "0.01"', "alive better broken slow"),
    ('not params.lr = "0.01"', "alive better broken silent slow"),
    ('params.lr in ("0.1", "ten")', "alive broken"),
    ('params.lr not in ("0.1", "ten")', "better good slow"),
    ('params.optimizer like "ada%"', "good"),
    ('params.optimizer ilike "ADA_"', "better good"),
    ('params.optimizer not like "ada%"', "better"),
    ('tags."a b" = "x"', "slow"),
    ('tags."stage" like "x%"', "good"),
    ("tags.stage is not null", "better good"),
    ("state in (FAILED, TIMEOUT)", "broken slow"),
    ("state != COMPLETED", "alive broken slow"),
    ("attributes.status = 'FINISHED'", "better good silent"),
    ('user = "bob" or experiment = pets', "better good slow"),
    ("duration > 350 and duration < '550s'", "silent slow"),
    ('started_at > "-2h" and started_at < "-90m"', "silent slow"),
    ('started_at > "2026-01-01" and started_at < "2100-01-01T00:00Z"', "alive better broken good silent slow"),
    ('metrics.loss < 0.3 and params.lr = "0.01" and (state in (COMPLETED, TIMEOUT) or user = "alice")', "good"),
    ("attempts = 1 and NOT (state = RUNNING OR metrics.loss < 1)", "broken silent slow"),
]


def test_a_filter_finds_what_it_says(zoo: Database) -> None:
    for asked, found in FOUND:
        assert (asked, " ".join(_names(zoo, asked))) == (asked, found)


def test_a_filter_and_an_order_go_together(zoo: Database) -> None:
    for order in ("metrics.loss", "params.lr desc", "tags.stage", "duration desc", "max(metrics.loss), params.lr"):
        for asked, found in FOUND:
            assert (asked, order, sorted(_names(zoo, asked, order))) == (asked, order, found.split())


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("metrics.loss <", 'At column 15: expected a value such as 0.3 or "alice", found the end.'),
        ("metrics.loss ~ 3", "At column 14: expected one of = != < <= > >=, `like`, `in` or `is null`"),
        ("metrics.loss < 3 nd x = 1", "At column 18: expected `and`, `or` or the end, found `nd`."),
        ('user = "bob', "At column 8: "),
        ("sate = FAILED", "runs have no `sate`. Did you mean `state`? They have account, array_job_id,"),
        ("metric.loss like 'x'", "a metric is a number, `like` is for texts."),
        ("state = SLEEPING", "`state` is a state (PENDING, RUNNING,"),
        ("state < > 3", "At column 9: expected a value"),
        ("started_at > yesterday", "`started_at` is a moment such as 2026-01-31"),
        ("started_at > 1e300", "`started_at` is a moment"),
        ("job_id = many", "`job_id` is a number, not `many`."),
        ("job_id = 1e999", "`job_id` is a finite number"),
        ("avg(metrics.loss) = 1", "there is no `avg(...)`; of a metric there are last, min, max,"),
        ("min(params.lr) = 1", "`min(...)` is of metrics only."),
        ("things.loss = 1", "there is no `things.`; write metrics., params., tags. or attributes."),
        ("(" * 2000 + "a = 1" + ")" * 1995, "parenthes|expected|nested"),
        ("a = 1 or " * 400 + "a = 1", "at most 50 conditions"),
        ("x" * 4001, "at most 4000 characters"),
    ],
)  # fmt: skip
def test_a_filter_that_cannot_be_read_says_where_and_what_was_expected(asked: str, told: str) -> None:
    with pytest.raises(BadFilter) as problem:
        Search((), (), parse(asked), datetime.now(timezone.utc))
    assert any(one in str(problem.value) for one in (told, *told.split("|")))


ORDERS = [
    ("metrics.loss", "better good alive slow broken silent"),
    ("metrics.loss desc", "slow alive good better silent broken"),
    ("max(metrics.loss) desc, name", "slow better broken good alive silent"),
    ("params.lr", "better good slow broken alive silent"),
    ("user desc, started_at", "slow good better broken silent alive"),
    ("tags.stage", "better good broken slow silent alive"),
    ("duration", "good better broken slow silent alive"),
]


def test_runs_come_in_order_and_page_by_page_just_as_well(zoo: Database) -> None:
    for order, names in ORDERS:
        assert (order, " ".join(_names(zoo, "", order))) == (order, names)
        for asked in ("", "state in (COMPLETED, FAILED, TIMEOUT, RUNNING)", "metrics.loss is not null or user = alice"):
            assert (order, asked, " ".join(_paged(zoo, asked, order))) == (order, asked, names)


def _paged(db: Database, asked: str, order: str) -> list[str]:
    names: list[str] = []
    cursor = None
    with db.read() as session:
        for _ in range(100):
            where = parse(asked) if asked else None
            page = runs.find(session, ADMIN, where=where, orders=parse_order(order), limit=1, cursor=cursor)
            names += [str(run.name) for run in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    return names


def test_runs_of_the_same_second_come_in_the_order_of_their_jobs(db: Database) -> None:
    at = datetime(2026, 1, 31, tzinfo=timezone.utc)
    jobs = [(47, None, None), (9, None, None), (None, 11, 10), (None, 11, 2), (48, None, None)]
    with db.write() as session:
        experiment = experiments.named(session, "pets", at)
        for number, (job_id, array, task) in enumerate(jobs):
            told = {
                "job_id": job_id,
                "array_job_id": array,
                "array_task_id": task,
                "submitted_at": at,
                "created_at": at,
            }
            runs.add(session, experiment=experiment, now=at + timedelta(seconds=number), state="PENDING",
                     state_source="controller", **told)  # fmt: skip
    with db.read() as session:
        for order in ("submitted_at", "created_at", "state"):
            found = runs.find(session, ADMIN, orders=parse_order(order)).items
            assert [run.job_id or run.array_task_id for run in found] == [9, 2, 10, 47, 48], order


def test_a_cursor_of_another_order_or_of_nobody_is_refused(zoo: Database) -> None:
    with zoo.read() as session:
        cursor = runs.find(session, ADMIN, orders=parse_order("metrics.loss"), limit=1).next_cursor
        forged = Sorting(parse_order("job_id"), datetime.now(timezone.utc)).cursor_at(["DROP", "x"])
        for order, given_cursor in (("name", cursor), ("job_id", forged), ("name", "garbage"), ("name", "W10")):
            with pytest.raises(BadInput, match="This cursor is not one of ours"):
                runs.find(session, ADMIN, orders=parse_order(order), cursor=given_cursor)


def test_people_find_their_own_runs_only_whatever_they_ask(zoo: Database) -> None:
    with zoo.read() as session:
        found = runs.find(session, Identity("bob", "user"), where=parse('user = "alice" or user = "bob"')).items
    assert [run.name for run in found] == ["slow"]


WORDS = st.sampled_from([
    "metrics.loss", "params.lr", 'tags."a b"', "state", "user", "started_at", "min", "(", ")", "and", "or", "not", "in",
    "like", "is", "null", "=", "<", ">=", "!=", ",", '"x"', "'%'", "0.5", "-1e3", "FAILED", '"-3d"', "\0", "é", "`",
])  # fmt: skip


@settings(max_examples=300, deadline=timedelta(seconds=2))
@given(st.lists(WORDS, max_size=12).map(" ".join) | st.text(max_size=40))
def test_whatever_is_asked_is_read_or_refused_in_a_sentence(text: str) -> None:
    try:
        parse(text)
    except BadFilter as problem:
        assert str(problem).endswith((".", "?"))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4000,
        "not " * 1000 + "a = 1",
        "(" * 1990 + "a=1" + ")" * 1990,
        "a in (" + "1," * 1990 + "1)",
        '"' * 4000,
        "x" * 1_000_000,
        "a=" + "9" * 3990,
        "metrics." + "`" * 3990,
        "\\" * 4000,
        "a = 1 and " * 400,
    ],
)
def test_what_is_deep_or_long_is_refused_or_read_at_once(text: str) -> None:
    try:
        Search((), (), parse(text), datetime.now(timezone.utc))
    except BadFilter as problem:
        assert len(str(problem)) < 1000


@settings(max_examples=200, deadline=timedelta(seconds=2))
@given(st.sampled_from(["params", "tags"]), st.text(min_size=1, max_size=30), st.text(max_size=60))
def test_what_is_written_as_a_filter_is_read_as_the_same(kind: str, name: str, value: str) -> None:
    field = Field(kind, name, "last", 1)
    if "'" in name and '"' in name and "`" in name:
        return  # there is no way to write such a name
    read = parse(f"{written(field)} = {quoted(value)}")
    assert isinstance(read, Compared)
    assert (read.field, read.operator, read.value) == (field, "=", value)
