"""The measured processes: each fresh, in a folder of its own as a Slurm job has it, in turns with the others."""

from __future__ import annotations

import ast
import ctypes
import mmap
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import _processes
from bench._figures import progress
from bench._in_process import inodes_of
from bench._peers import Tracker
from lab.place import CHECKOUT, LabError

Answers = dict[str, list[dict[str, Any]]]  # by the tracker's name, one for each round

PROGRAM = str(CHECKOUT / "bench" / "_in_process.py")
PR_SET_CHILD_SUBREAPER = 36
PROCESS_WITHIN_S = 60
SETTLE_S = 1.0  # what helpers and servers get after a kill before the run is read back


@dataclass(frozen=True)
class Extent:
    """How much is measured: rounds of each kind, and how long one process may take."""

    tight_rounds: int = 5
    blocks: int = 10
    calls_a_block: int = 1000
    tight_limit_s: float = 2.0
    start_rounds: int = 7
    whole_rounds: int = 5
    paced_rounds: int = 3
    paced_s: float = 3.0
    eager_rounds: int = 5
    captured_files: int = 18_000
    kills: int = 4
    our_kills: int = 10
    scenario_limit_s: float = 50.0  # then a scenario ends after its round, as it must on a busy machine


FULL = Extent()
QUICK = Extent(2, 4, 500, 0.5, 2, 1, 1, 1.0, 1, 1000, 1, 3, 10.0)
EAGER_S = 3.0  # of a run whose repository is looked at for about two
NOTHING_NAME = "nothing"


@dataclass
class Measured:
    """Everything that was measured, by scenario."""

    one: Answers = field(default_factory=dict)  # 1 scalar a call
    ten: Answers = field(default_factory=dict)
    starts: Answers = field(default_factory=dict)
    whole: Answers = field(default_factory=dict)
    paced: Answers = field(default_factory=dict)
    captured: Answers = field(default_factory=dict)  # ours alone, `on` and `off`
    killed: Answers = field(default_factory=dict)


class Rounds:
    """Measures trackers in turns. `place` is an empty folder on a disk."""

    def __init__(self, trackers: list[Tracker], place: Path, extent: Extent) -> None:
        self.trackers = trackers
        self.nothing = Tracker(NOTHING_NAME, "nothing", trackers[0].python, "time")
        self._place = place
        self._extent = extent
        self._made = 0
        self._project = _project(place / "project")
        self._not_ours_to_end = _children()
        # A helper that outlives its process becomes a child of this one, which ends it.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def measure(self) -> Measured:
        """Measure every scenario."""
        extent, found = self._extent, Measured()
        for what, scalars, into in (("1 scalar", 1, found.one), ("10 scalars", 10, found.ten)):
            self._in_turns(f"{what} a call", extent.tight_rounds, self.trackers, into, self._tight, scalars)
        everyone = [*self.trackers, self.nothing]
        self._in_turns("imports", extent.start_rounds, self.trackers, found.starts, self._start)
        self._in_turns("short runs", extent.whole_rounds, everyone, found.whole, self._whole)
        self._in_turns("paced loops", extent.paced_rounds, everyone, found.paced, self._paced)
        self._captured(found.captured)
        ours = [one for one in self.trackers if one.is_ours]
        self._in_turns("kill -9 of ours", extent.our_kills, ours, found.killed, self._killed)
        others = [one for one in self.trackers if not one.is_ours]
        self._in_turns("kill -9 of the others", extent.kills, others, found.killed, self._killed)
        return found

    def _in_turns(
        self, what: str, rounds: int, trackers: Iterable[Tracker], into: Answers, measure: Any, *more: Any
    ) -> None:
        trackers = list(trackers)
        into.update({tracker.name: [] for tracker in trackers})
        began_s, done = time.monotonic(), 0
        while trackers and done < rounds and time.monotonic() - began_s < self._extent.scenario_limit_s:
            for tracker in random.sample(trackers, len(trackers)):
                into[tracker.name].append(measure(tracker, *more))
            done += 1
            progress(f"  {what}, {done} of {rounds}, {time.monotonic() - began_s:.1f} s")

    # -- scenarios

    def _tight(self, tracker: Tracker, scalars: int) -> dict[str, Any]:
        extent, folder = self._extent, self._folder(tracker)
        # Only beside ours: a queue of others would be emptied while nothing is logged.
        limits = [scalars, extent.blocks, extent.calls_a_block, int(tracker.is_ours), extent.tight_limit_s]
        answer = self._run("tight", tracker, folder, *limits)
        if tracker.is_ours:
            _check_all_is_there(folder, tracker, answer)
        return answer

    def _start(self, tracker: Tracker) -> dict[str, Any]:
        env = self._env(tracker, self._folder(tracker))
        bare = _processes.run([tracker.python, "-c", ""], env)
        imported = _processes.run([tracker.python, "-c", f"import {tracker.module}"], env)
        return {
            "bare_ms": bare.wall_ms,
            "over_bare_ms": imported.wall_ms - bare.wall_ms,
            "over_bare_cpu_ms": imported.cpu_ms - bare.cpu_ms,
        }

    def _whole(self, tracker: Tracker) -> dict[str, Any]:
        folder = self._folder(tracker)
        before = inodes_of(str(folder)) + len(("said", "answer"))
        answer = self._run("whole", tracker, folder)
        return {
            **answer,
            "end_ms": (answer["ended_s"] - answer["last_s"]) * 1000,
            "inodes": max(answer["inodes"], inodes_of(str(folder)) - before),
        }

    def _paced(self, tracker: Tracker) -> dict[str, Any]:
        return self._run("paced", tracker, self._folder(tracker), 0.005, self._extent.paced_s)

    def _captured(self, into: Answers) -> None:
        """Log while a large repository is captured, and while nothing is. Nothing is measured without git."""
        project, extent = _project(self._place / "large", self._extent.captured_files), self._extent
        for number in range(extent.eager_rounds if (project / ".git" / "index").exists() else 0):
            for capture in random.sample(("on", "off"), 2):
                ours = replace(self.trackers[0], env={**self.trackers[0].env, "TRACKER_CAPTURE": capture})
                answer = self._run("eager", ours, self._folder(ours), 0.001, EAGER_S, project=project)
                into.setdefault(capture, []).append(answer)
            progress(f"  captures of {extent.captured_files} files, {number + 1} of {extent.eager_rounds}")

    def _killed(self, tracker: Tracker) -> dict[str, Any]:
        """Kill a logging process at a random moment. Gives how many calls had returned and how many steps are there."""
        folder = self._folder(tracker)
        (folder / "count").write_bytes(bytes(8))
        process = self._begin("killed", tracker, folder)
        try:
            with (folder / "count").open("r+b") as file, mmap.mmap(file.fileno(), 8) as count:
                self._wait_for_first(process, count, folder)
                time.sleep(random.uniform(0.3, 1.5))
                process.send_signal(signal.SIGKILL)
                process.wait()
                logged = int.from_bytes(count[:8], "little")
            time.sleep(0 if tracker.is_ours else SETTLE_S)
        finally:
            self._end(process)
        read = self._run("read", tracker, folder)["steps"]
        return {"logged": logged, "read": read, "lost": max(0, logged - read)}

    def _wait_for_first(self, process: subprocess.Popen[bytes], count: mmap.mmap, folder: Path) -> None:
        deadline_s = time.monotonic() + PROCESS_WITHIN_S
        while count[:8] == bytes(8):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise LabError(f"a process logged nothing: {_last_words(folder)}")
            time.sleep(0.005)

    # -- processes

    def _folder(self, tracker: Tracker) -> Path:
        """A new folder, with the spool that a Prolog would have made."""
        self._made += 1
        folder = self._place / f"{self._made}-{tracker.name}"
        for made in (folder, folder / "home", folder / "tmp"):
            made.mkdir()
        (folder / "jobs" / "bench.4711").mkdir(mode=0o700, parents=True)
        return folder

    def _env(self, tracker: Tracker, folder: Path) -> dict[str, str]:
        """A job's environment, as far as trackers read it."""
        own = {name: str(folder) for name in ("WANDB_DIR", "TRACKIO_DIR")} if not tracker.is_ours else {}
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "LANG": "C.UTF-8",
            "USER": "bench",
            "OPENBLAS_NUM_THREADS": "1",
            "SLURM_CLUSTER_NAME": "bench",
            "SLURM_JOB_ID": "4711",
            "SLURMD_NODENAME": "n1",
            "SLURM_PROCID": "0",
            "TRACKER_SPOOL": str(folder / "jobs" / "bench.4711"),
            **own,
            **tracker.env,
        }

    def _begin(
        self, scenario: str, tracker: Tracker, folder: Path, *more: float, project: Path | None = None
    ) -> subprocess.Popen[bytes]:
        program = shutil.copy(PROGRAM, project) if project else PROGRAM  # the repository of the script is captured
        argv = [tracker.python, "-P", program, scenario, tracker.name, str(folder), *map(str, more)]
        with (folder / "said").open("ab") as said:
            return subprocess.Popen(
                argv,
                env=self._env(tracker, folder),
                cwd=project or self._project,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def _run(
        self, scenario: str, tracker: Tracker, folder: Path, *more: float, project: Path | None = None
    ) -> dict[str, Any]:
        """What a fresh process answers, and when it had ended. Raises LabError when it fails."""
        process = self._begin(scenario, tracker, folder, *more, project=project)
        try:
            code = process.wait(PROCESS_WITHIN_S)
            ended_s = time.monotonic()
        except subprocess.TimeoutExpired:
            raise LabError(f"{tracker.title}, {scenario}, took more than {PROCESS_WITHIN_S} s") from None
        finally:
            self._end(process)
        if code:
            way_out = "" if tracker.is_ours else " (--peers leaves it out)"
            raise LabError(f"{tracker.title}, {scenario}, ended with {code}{way_out}: {_last_words(folder)}")
        return {**ast.literal_eval((folder / "answer").read_text()), "ended_s": ended_s}

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process, and the helpers that it left behind."""
        process.kill()
        process.wait()
        while strays := _children() - self._not_ours_to_end:
            for pid in strays:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def _last_words(folder: Path) -> str:
    lines = (folder / "said").read_text(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"


def _project(folder: Path, files: int = 0) -> Path:
    """A working folder as people have it: a repository with a change that is not committed, where there is git."""
    folder.mkdir()
    for number in range(files):
        file = folder / f"part_{number // 100}" / f"module_{number}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"number = {number}\n")
    script = folder / "train.py"
    script.write_text("print('training')\n")
    git = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    try:
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "train"]):
            subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return folder
    script.write_text("print('training more')\n")
    return folder


def _check_all_is_there(folder: Path, tracker: Tracker, answer: dict[str, Any]) -> None:
    """A log() that wrote nothing would be quick."""
    points = sum(file.read_bytes().count(b'{"metrics":') for file in (folder / "jobs").rglob("*.jsonl"))
    if points != len(answer["log"]) + 1 or answer["orjson"] != [int(tracker.name == "tracker")]:
        raise LabError(f"{tracker.title}: {points} points of {len(answer['log']) + 1} were written")
