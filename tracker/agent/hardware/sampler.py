"""The process that measures. It reads from stdin which jobs there are, and writes samples to stdout, JSON a line.

In: `{"jobs": [{"folder", "uid", "cluster", "job_id", "pids", "gpus"}, ...]}`, all jobs of the node each time.
Out: `{"folder", "uid", "line"}`, a line of docs/spool.md; `{"say"}`, words for the administrator; `{}`, a sign of life.
"""

from __future__ import annotations

import json
import os
import select
import time
from typing import Any, Iterable

from tracker.agent.hardware import nodes, processes
from tracker.agent.hardware.gpus import Gpus
from tracker.agent.hardware.job import Job, Reading, Roots, Target, metrics
from tracker.agent.hardware.kept import KeptTable

LOOK_EVERY_S = 3.0  # between samples, so that a job's last reading is of its last moments
_LEAST_S = 0.5  # a rate over less says little
_FIRST_LOOKS = 3  # a new job's processes are searched for at each of these


class _Watched:
    """A job, what of it was told last, and what was read since then."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.told: Reading | None = None
        self.latest: Reading | None = None
        self.looks = 0
        self.is_new = True  # its first sample does not wait for the others
        self.has_names = False  # of its GPUs, told

    def last_moments(self) -> Iterable[dict[str, Any]]:
        """The sample of a job that is over, as of the last look at it."""
        if self.told and self.latest and self.latest.at_s - self.told.at_s >= _LEAST_S:
            yield _line(metrics(self.told, self.latest), self.latest.at_s)


class Sampler:
    """Samples all jobs every `every_s` seconds, new jobs after their first look, and jobs that ended once more."""

    def __init__(self, node: str, every_s: float, gpus: Gpus, roots: Roots) -> None:
        self._node, self._every_s, self._gpus, self._roots = node, every_s, gpus, roots
        self._jobs: dict[str, _Watched] = {}
        self._next_sample_s = 0.0
        self._node_before: nodes.NodeUsage | None = None
        self._node_metrics: dict[str, float] = {}
        self._farewells: list[tuple[Target, dict[str, Any]]] = []

    def watch(self, targets: Iterable[Target]) -> None:
        """Take note of the jobs that there are now; those not named are over."""
        jobs: dict[str, _Watched] = {}
        for target in targets:
            known = self._jobs.get(target.folder)
            jobs[target.folder] = known if known and known.job.target == target else self._new(target, known)
        for folder, watched in self._jobs.items():
            if folder not in jobs:
                self._farewells += [(watched.job.target, line) for line in watched.last_moments()]
        self._jobs = jobs

    def look(self, now_s: float) -> Iterable[tuple[Target, dict[str, Any]]]:
        """Look at all jobs; yield job and line of each sample that is due.

        `now_s` is of time.monotonic(): the clock may be put right by hours, back or forth.
        """
        yield from self._farewells
        self._farewells = []
        is_due = now_s >= self._next_sample_s
        searched = [one for one in self._jobs.values() if is_due or (one.told is None and one.looks < _FIRST_LOOKS)]
        known = processes.of_users(self._roots.proc, {one.job.target.uid for one in searched})
        if is_due:
            self._next_sample_s = now_s + self._every_s
        if is_due or any(one.is_new for one in self._jobs.values()):
            self._look_at_node()
        for watched in self._jobs.values():
            target = watched.job.target
            if watched in searched:
                watched.job.find(known[target.uid])
            for line in self._look_at(watched, now_s, is_due):
                yield target, line

    def pause_s(self) -> float | None:
        """Seconds until the next look; None when there is nothing to look at."""
        return min(LOOK_EVERY_S, self._every_s) if self._jobs else None

    def _new(self, target: Target, known: _Watched | None) -> _Watched:
        watched = _Watched(Job(target, self._node, self._roots))
        if known and known.job.target.gpus == target.gpus:  # another script of a run outside Slurm
            watched.told, watched.is_new = known.told, known.is_new
        return watched

    def _look_at(self, watched: _Watched, now_s: float, is_due: bool) -> Iterable[dict[str, Any]]:
        is_sample = is_due or watched.is_new
        reading = watched.job.read(now_s, thoroughly=is_sample)
        watched.looks += 1
        if reading is None:
            yield from watched.last_moments()
            watched.told = watched.latest = None  # it may come again: after a requeue, or by another step
            watched.is_new, watched.has_names = True, False
            return
        watched.latest = reading
        if not watched.has_names and is_sample:
            names = list(self._names_of_gpus(watched.job.target, now_s))
            watched.has_names = bool(names)
            yield from names
        if watched.told is None:
            watched.told = reading
        elif is_sample and now_s - watched.told.at_s >= _LEAST_S:
            gpus = self._gpu_metrics(watched.job.target)
            yield _line({**metrics(watched.told, reading), **self._node_metrics, **gpus}, now_s)
            watched.told, watched.is_new = reading, False

    def _look_at_node(self) -> None:
        now = nodes.read(self._roots.proc)
        before, self._node_before = self._node_before, now
        self._node_metrics = {}
        if now is not None and now.memory_percent is not None:
            self._node_metrics["system/node.memory_percent"] = round(now.memory_percent, 2)
        if now is not None and before is not None and now.all_ticks > before.all_ticks:
            busy = (now.busy_ticks - before.busy_ticks) / (now.all_ticks - before.all_ticks)
            self._node_metrics["system/node.cpu_percent"] = round(busy * 100, 2)

    def _names_of_gpus(self, target: Target, now_s: float) -> Iterable[dict[str, Any]]:
        found = []
        for index in target.gpus:
            slot = self._gpus.slot(index)
            if slot is not None and slot.device is not None and slot.device.uuid is not None:
                part = {"mig": slot.part.uuid} if slot.part else {}
                found.append({"index": index, "uuid": slot.device.uuid, "name": slot.device.name, **part})
        if found:
            yield {"event": "gpus", "gpus": found, "time": _since_1970(now_s)}

    def _gpu_metrics(self, target: Target) -> dict[str, float]:
        found: dict[str, float | None] = {}
        for index in target.gpus:
            reading = self._gpus.read(index)
            if reading is None:
                continue
            used, total = reading.memory_bytes, reading.memory_total_bytes
            name = f"system/gpu.{index}."
            found[name + "utilization_percent"] = reading.utilization_percent
            found[name + "memory_bytes"] = used
            found[name + "memory_percent"] = None if used is None or not total else round(used / total * 100, 2)
            found[name + "power_watts"] = reading.power_watts
            found[name + "temperature_celsius"] = reading.temperature_celsius
        return {name: value for name, value in found.items() if value is not None}


def _line(found: dict[str, float], at_s: float) -> dict[str, Any]:
    return {"metrics": found, "time": _since_1970(at_s)}


def _since_1970(at_s: float) -> float:
    return round(at_s + time.time() - time.monotonic(), 6)


def main(said: str) -> None:
    """Sample until stdin ends: the agent is gone or wants no more. `said` are the options, in JSON."""
    options = json.loads(said)
    kept = KeptTable(options["gpu_table"])
    gpus = Gpus(options["gpu_files"], lambda words: _write({"say": words}), kept=kept)
    sampler = Sampler(options["node"], options["every_s"], gpus, Roots())
    news = _News()
    try:
        while news.wait(sampler.pause_s()):
            if news.targets is not None:
                sampler.watch(news.targets)
            for target, line in sampler.look(time.monotonic()):
                _write({"folder": target.folder, "uid": target.uid, "line": line})
            _write({})
    except BrokenPipeError:
        pass  # the agent was killed
    except Exception as problem:  # the outermost place: the agent tells it and starts us again
        _write({"say": f"the sampler of the hardware failed: {type(problem).__name__}: {problem}"})


class _News:
    """What the agent says on stdin: `targets` are the jobs it named last, None if it named none since the last wait."""

    def __init__(self) -> None:
        self.targets: list[Target] | None = None
        self._unread = b""

    def wait(self, pause_s: float | None) -> bool:
        """Wait that long (None: as long as it takes) or for news; False when there will be none any more."""
        self.targets = None
        if not select.select([0], [], [], pause_s)[0]:
            return True
        raw = os.read(0, 1024 * 1024)
        *lines, self._unread = (self._unread + raw).split(b"\n")
        if lines:
            self.targets = [Target.of(said) for said in json.loads(lines[-1])["jobs"]]
        return bool(raw)


def _write(message: dict[str, Any]) -> None:
    raw = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    while raw:
        raw = raw[os.write(1, raw) :]
