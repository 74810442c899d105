"""What scripts log arrives in the spool, whole, once, in the form of docs/spool.md."""

from __future__ import annotations

import pytest

from tests.client.conftest import JOB, Scripts


def test_one_call_is_enough_to_be_a_run(scripts: Scripts) -> None:
    done = scripts.run("tracker.log({'loss': 0.5, 'n': 3}, step=10)")
    assert (done.stdout, done.stderr) == ("", "")
    assert scripts.points() == [(10, {"loss": 0.5, "n": 3})]
    assert scripts.messages()[0]["event"] == "writer"
    assert scripts.event("finish")["exit_code"] == 0


def test_a_run_outside_slurm_has_a_private_folder_named_by_its_id(scripts: Scripts) -> None:
    done = scripts.run("print(tracker.current_run().id, tracker.current_run().spool)")
    run_id, folder = done.stdout.split()
    assert [str(path) for path in scripts.folders()] == [folder]
    assert folder.endswith(f"/local.{run_id}")
    assert scripts.folders()[0].stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in scripts.folders()[0].iterdir()] == [0o600]


def test_a_slurm_job_logs_to_the_folder_of_its_job(scripts: Scripts) -> None:
    code = "run = tracker.current_run(); print(run.cluster, run.job_id, run.id, run.attempt)"
    done = scripts.run(code, **JOB, SLURM_RESTART_COUNT="2")
    assert done.stdout.split() == ["dev", "12", "None", "3"]
    assert [path.name for path in scripts.folders()] == ["dev.12"]
    header = scripts.event("writer")
    assert (header["cluster"], header["job_id"], header["restart_count"], header["node"]) == ("dev", 12, 2, "n1")


def test_every_rank_has_a_file_and_says_who_it_is(scripts: Scripts) -> None:
    for rank in ("0", "1"):
        scripts.run("tracker.log({'loss': 1.0})", **{**JOB, "SLURM_PROCID": rank})
    assert sorted(one["rank"] for one in scripts.messages() if one.get("event") == "writer") == [0, 1]
    assert len(list(scripts.folders()[0].iterdir())) == 2


def test_a_folder_that_is_handed_over_is_used(scripts: Scripts) -> None:
    scripts.run("tracker.log({'a': 1})", **JOB, TRACKER_SPOOL=str(scripts.home / "given" / "dev.12"))
    assert scripts.folders() == []
    assert len(list((scripts.home / "given" / "dev.12").iterdir())) == 1


@pytest.mark.parametrize("inherited", ["dev.11", "local." + "0" * 32])
def test_a_job_submitted_from_a_run_does_not_log_into_that_run(scripts: Scripts, inherited: str) -> None:
    scripts.run("tracker.log({'a': 1})", **JOB, TRACKER_SPOOL=str(scripts.home / "t/spool/jobs" / inherited))
    assert [path.name for path in scripts.folders()] == ["dev.12"]


def test_init_describes_the_run(scripts: Scripts) -> None:
    scripts.run("tracker.init('mnist', 'first', {'lr': 0.1, 'opt': {'name': 'sgd'}}, {'stage': 'draft'})")
    assert scripts.event("run")["experiment"] == "mnist"
    assert scripts.event("run")["name"] == "first"
    assert scripts.event("params")["params"] == {"lr": 0.1, "opt": {"name": "sgd"}}
    assert scripts.event("tags")["tags"] == {"stage": "draft"}


def test_the_experiment_may_come_from_the_environment(scripts: Scripts) -> None:
    scripts.run("tracker.log({'a': 1})", TRACKER_EXPERIMENT="mnist")
    assert scripts.event("run")["experiment"] == "mnist"


def test_numbers_of_every_kind_are_kept(scripts: Scripts) -> None:
    scripts.run("""
        import decimal, fractions, numpy as np
        values = [1, 2.5, True, 2**63 - 1, -2**63, 2**70, float("nan"), float("inf"), -float("inf"), 10**400,
                  decimal.Decimal("1.5"), fractions.Fraction(1, 4), np.float32(0.5), np.float64(0.25), np.int64(7),
                  np.bool_(True), np.array(3.5), np.array([4.5]), np.float16("nan")]
        tracker.log({f"m{i}": value for i, value in enumerate(values)}, step=np.int32(1))
        tracker.log({"nested": {"a": 1, "b": {"c": 2}}}, step=2.0)
        tracker.log({"nan": float("nan")}, step=3)
    """)
    words = ["NaN", "Infinity", "-Infinity", "Infinity"]
    expected = [1, 2.5, 1, 2**63 - 1, -(2**63), float(2**70), *words, 1.5, 0.25, 0.5, 0.25, 7, 1, 3.5, 4.5, "NaN"]
    first, second, third = scripts.points()
    assert (first[0], list(first[1].values())) == (1, expected)
    assert second == (2, {"nested/a": 1, "nested/b/c": 2})
    assert third == (3, {"nan": "NaN"})


def test_the_plain_encoder_writes_the_same_as_the_fast_one(scripts: Scripts) -> None:
    code = """
        import sys
        if {without}: sys.modules["orjson"] = None
        tracker.log({{"a": 1, "b": 0.1, "c": -1e-300, "ü\\u2028\\"\\\\": 2}}, step=1)
        tracker.log({{"a": 2**64, "b": 2**64}}, step=2)
        tracker.log({{None: 1, 2: 3}}, step=2**70)
        tracker.log({{"a": 1}})
    """
    for without in (True, False):
        scripts.run(code.format(without=without), **{**JOB, "SLURM_JOB_ID": str(int(without) + 1)})
    fast, plain = ([one.get("metrics") for one in scripts.messages(folder)] for folder in scripts.folders())
    assert fast == plain
    assert {"a": float(2**64), "b": float(2**64)} in plain
    assert {"None": 1, "2": 3} in plain


def test_what_is_no_number_is_named_once_and_the_rest_is_kept(scripts: Scripts) -> None:
    done = scripts.run("""
        class Strange:
            def __float__(self): raise RuntimeError("\\ud800 no")
            def __str__(self): raise RuntimeError("no")
        class StrangeFloat(float):
            def __float__(self): raise RuntimeError("no")
        class StrangeInt(int):
            def __int__(self): raise RuntimeError("no")
        class StrangeDict(dict):
            def items(self): raise RuntimeError("no")
        for step in range(3):
            metrics = {"text": "abc", "none": None, "list": [1], "strange": Strange(), Strange(): 1}
            metrics.update(float=StrangeFloat(1), int=StrangeInt(1), nested=StrangeDict(a=1))
            tracker.log({"loss": 1.5, **metrics}, step)
        for bad in (None, 3, "x", [1], {}, {"a": {}}):
            tracker.log(bad)
        tracker.log({"a": 1}, step="ten")
        deep = loop = {}
        loop["again"] = loop
        tracker.log(deep)
        tracker.log_params(None); tracker.log_params({"x": Strange(), "loop": loop}); tracker.set_tags(5)
        tracker.init(experiment=Strange(), name=7, params=[1], tags={1: 2})
    """)
    assert [step for step, metrics in scripts.points() if metrics.get("loss") == 1.5] == [0, 1, 2]
    assert done.stderr.count("text is not logged") == 1
    notes = [one["key"] for one in scripts.messages() if one.get("event") == "note"]
    assert {"float", "nested"} <= set(notes)
    assert {"text", "none", "list", "strange", "metrics", "step", "params", "tags"} <= set(notes)
    assert len(notes) == len(set(notes))


def test_no_line_is_longer_than_a_megabyte(scripts: Scripts) -> None:
    scripts.run("""
        tracker.log({f"{i:0100}": i for i in range(30_000)}, step=1)
        tracker.log_params({"big": "x" * 2_000_000})
    """)
    (file,) = scripts.folders()[0].iterdir()
    assert max(map(len, file.read_bytes().splitlines())) < 1024 * 1024
    assert sum(len(metrics) for _, metrics in scripts.points()) == 30_000
    assert scripts.event("note")["key"] == "params"


def test_without_a_step_the_server_counts(scripts: Scripts) -> None:
    done = scripts.run("""
        tracker.log({"a": 1}); tracker.log({"a": 1}, step=7); tracker.log({"a": 1})
        print(tracker.current_run().last_step)
    """)
    assert [step for step, _ in scripts.points()] == [None, 7, None]
    assert done.stdout.strip() == "8"


def test_switched_off_nothing_is_written(scripts: Scripts) -> None:
    done = scripts.run(
        """
        run = tracker.init("e", params={"a": 1}); tracker.log({"a": 1}); tracker.set_tags({"a": "b"}); tracker.finish()
        print(run.spool, run.last_step)
        """,
        TRACKER_MODE="off",
    )
    assert done.stdout.split() == ["None", "None"]
    assert list(scripts.home.iterdir()) == []


def test_where_nothing_can_be_written_one_line_says_so_and_the_script_goes_on(scripts: Scripts) -> None:
    (scripts.home / "file").write_text("")
    code = "tracker.log({'a': 1}); tracker.log({'a': 2}); tracker.finish(); print('done')"
    done = scripts.run(code, TRACKER_HOME=str(scripts.home / "file"), TRACKER_SPOOL="/proc/nothing/here")
    assert done.stdout == "done\n"
    assert done.stderr.count("\n") == 1
    assert "nothing is logged" in done.stderr


def test_a_given_folder_that_cannot_be_written_is_passed_over(scripts: Scripts) -> None:
    scripts.run("tracker.log({'a': 1})", **JOB, TRACKER_SPOOL="/proc/nothing/dev.12")
    assert [path.name for path in scripts.folders()] == ["dev.12"]


def test_time_left_counts_down_to_the_limit(scripts: Scripts) -> None:
    code = "import os, time; os.environ.update({0}); print(tracker.time_left())"
    assert scripts.run(code.format("{}")).stdout.strip() == "None"
    assert scripts.run(code.format("{'SLURM_JOB_END_TIME': 'soon'}")).stdout.strip() == "None"
    assert 90 < float(scripts.run(code.format("{'SLURM_JOB_END_TIME': str(int(time.time()) + 100)}")).stdout) <= 100


def test_importing_tracker_loads_the_standard_library_only(scripts: Scripts) -> None:
    done = scripts.run("""
        import sys
        before = set(sys.modules)
        tracker.log({"a": 1.0}); tracker.time_left()
        import tracker.client.shell, tracker.agent.main
        loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(loaded - set(sys.stdlib_module_names) - {"tracker", "orjson"}))
        print(sorted({name.split(".")[1] for name in sys.modules if name.startswith("tracker.")}))
    """)
    foreign, own = done.stdout.splitlines()
    assert foreign == "[]"
    assert own == "['agent', 'client', 'credentials', 'errors', 'events']"


def test_where_no_descriptor_is_left_nothing_raises_and_later_calls_are_kept(scripts: Scripts) -> None:
    done = scripts.run("""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
        taken = []
        try:
            while True: taken.append(open("/dev/null"))
        except OSError:
            pass
        for step in range(3): tracker.log({"a": 1}, step)
        tracker.log_params({"x": 1})
        for file in taken: file.close()
        tracker.log({"a": 1}, step=3)
    """)
    assert [step for step, _ in scripts.points()] == [3]
    assert done.stderr.count("tracker: log: nothing is kept") == 1


def test_tracker_itself_is_one_small_file(scripts: Scripts) -> None:
    done = scripts.run("import sys; print([name for name in sys.modules if name.startswith('tracker')])")
    assert done.stdout.strip() == "['tracker']"
