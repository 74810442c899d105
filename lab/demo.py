"""The demo: sample jobs on a Slurm, followed until they end, and compared with Slurm's accounting."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from lab.place import LabError
from lab.samples import SAMPLES, Sample
from lab.verdict import Accounted, Api, Followed, Verdict, judge, table

Ask = Callable[[list[str]], str]
END_STATES = {
    "COMPLETED", "FAILED", "TIMEOUT", "OUT_OF_MEMORY", "CANCELLED", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "DEADLINE",
}  # fmt: skip
LONGEST_S = 300
SETTLE_S = 30


@dataclass
class Demo:
    """Sample jobs of one user on one Slurm. `ask` runs a command as that user in a folder that has `examples/`."""

    cluster: str
    ask: Ask
    api: Api
    nodes: int
    options: tuple[str, ...] = ()
    said: dict[str, str] = field(default_factory=dict)
    interfered: set[int] = field(default_factory=set)
    started_s: float = field(default_factory=time.monotonic)

    def submit(self) -> dict[int, Sample]:
        """Submit all samples that fit this cluster; job ids in the order of submission."""
        jobs = {}
        for sample in SAMPLES:
            if sample.nodes > self.nodes:
                print(f"  this cluster has {self.nodes} node: without the sample that {sample.about} needs")
                continue
            words = ["sbatch", "--parsable", *self.options, f"examples/{sample.script}"]
            jobs[int(self.ask(words).split(";")[0])] = sample
        return jobs

    def cancel(self, jobs: dict[int, Sample]) -> None:
        """Cancel what is left of the jobs."""
        with suppress(LabError):  # Slurm has forgotten jobs that ended long ago
            self.ask(["scancel", *map(str, jobs)])

    def follow(self, jobs: dict[int, Sample]) -> list[Verdict]:
        """Watch the jobs until all have ended and the tracker has settled; the verdict on each run."""
        runs = [run for job, sample in jobs.items() for run in self._runs(job, sample)]
        deadline = time.monotonic() + LONGEST_S
        while True:
            states = self._states(jobs)
            self._tell(runs, states)
            self._interfere(jobs, states)
            if all(self._has_ended(run, states) for run in runs):
                break
            if time.monotonic() > deadline:
                print(f"  not all jobs have ended within {LONGEST_S} s")
                break
            time.sleep(0.5)
        return self._settle(runs)

    def _runs(self, job: int, sample: Sample) -> list[Followed]:
        return [Followed(sample, name) for name in [f"{job}_{task}" for task in range(sample.tasks)] or [str(job)]]

    def _states(self, jobs: dict[int, Sample]) -> dict[str, str]:
        """Slurm's word for each run: the queue's while it is there, then accounting's."""
        named = ",".join(map(str, jobs))
        answer = self.ask(["squeue", "-h", "-r", "-t", "all", "-j", named, "-o", "%i %T"])
        states = dict(line.split()[:2] for line in answer.splitlines())
        return {**{job: found.state for job, found in self._accounting(jobs).items()}, **states}

    def _accounting(self, jobs: dict[int, Sample]) -> dict[str, Accounted]:
        words = ["env", "SLURM_TIME_FORMAT=%s", "sacct", "-nPX", "-j", ",".join(map(str, jobs))]
        try:
            answer = self.ask([*words, "-o", "JobID,State,End"])
        except LabError:
            return {}  # this Slurm keeps no accounting
        rows = [line.split("|") for line in answer.splitlines()]
        return {
            row[0]: Accounted(row[1].split()[0], int(row[2]) if row[2].isdigit() else None)
            for row in rows
            if len(row) == 3 and row[1]
        }

    def _tell(self, runs: list[Followed], states: dict[str, str]) -> None:
        for run in runs:
            state = states.get(run.job, "")
            if state and self.said.get(run.job) != state:
                self.said[run.job] = state
                print(f"  {time.monotonic() - self.started_s:5.1f} s  {run.job:<5} {run.sample.about:<22} {state}")

    def _interfere(self, jobs: dict[int, Sample], states: dict[str, str]) -> None:
        for job, sample in jobs.items():
            if not sample.interfere or job in self.interfered or states.get(str(job)) != "RUNNING":
                continue
            if len(self.api.series(f"{self.cluster}:{job}", sample.metric, "step")) >= 20:
                self.ask([word.format(job=job) for word in sample.interfere])
                self.interfered.add(job)

    def _has_ended(self, run: Followed, states: dict[str, str]) -> bool:
        waits = bool(run.sample.interfere) and int(run.job) not in self.interfered
        return states.get(run.job) in END_STATES and not waits

    def _settle(self, runs: list[Followed]) -> list[Verdict]:
        deadline = time.monotonic() + SETTLE_S
        while True:
            accounting = self._accounting({int(run.job.partition("_")[0]): run.sample for run in runs})
            verdicts = [judge(self.api, self.cluster, run, accounting.get(run.job, Accounted())) for run in runs]
            if all(verdict.good for verdict in verdicts) or time.monotonic() > deadline:
                return verdicts
            time.sleep(0.5)


def report(verdicts: list[Verdict]) -> bool:
    """Print the table; gives whether everything is as it has to be."""
    print(table(verdicts))
    wrong = sum(not verdict.good for verdict in verdicts)
    print(f"{len(verdicts)} runs, {f'{wrong} wrong' if wrong else 'all as Slurm has them, all points there'}")
    return bool(verdicts) and not wrong
