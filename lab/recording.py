"""`./run cluster record`: what each source is told by a real Slurm with known jobs, kept for the contract tests."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from lab import slurmrestd
from lab.cluster import Cluster
from lab.known_jobs import HOSTILE_NAMES, KnownJobs
from lab.place import CHECKOUT, LabError
from tracker.slurm.asking import run_command
from tracker.slurm.commands import Commands
from tracker.slurm.pyslurm_source import Pyslurm, asked_of_pyslurm, installed
from tracker.slurm.rest import Rest
from tracker.slurm.slurmrestd import Json, Slurmrestd
from tracker.slurm.source import Source

RECORDINGS = CHECKOUT / "tests" / "slurm" / "recordings"
SEPARATOR = "<separator>"
TIMEOUT_S = 30.0


def main(argv: Sequence[str]) -> int:
    """Record on one version of Slurm, with pyslurm where there is one in a folder of its own; gives the exit code."""
    (version,) = argv
    cluster = Cluster("rec", nodes=2, gpus=2, slurm=version, bare=True)
    cluster.remove()
    cluster.at.etc.mkdir(parents=True)
    (cluster.at.etc / "hooks.conf").write_text("PrologFlags=Alloc\nAccountingStorageEnforce=limits,qos\n")
    try:
        cluster.up()
        record(cluster, RECORDINGS / (f"{version}-pyslurm" if installed() else version))
    except LabError as problem:
        print(f"./run cluster record: {problem}", file=sys.stderr)
        return 1
    finally:
        cluster.remove()
    return 0


def record(cluster: Cluster, folder: Path) -> None:
    """Arrange the known jobs and write every source's answers."""
    began_at = time.time()
    jobs = KnownJobs(cluster)
    ids = jobs.arrange()
    os.environ.update(cluster.env())
    folder.mkdir(parents=True, exist_ok=True)
    answers: list[dict[str, Any]] = []
    known = set(ids.values())
    _ask_everything(Commands(timeout_s=TIMEOUT_S, ask=partial(_kept_answer, answers)), known, began_at)
    _write(folder / "commands.json", answers)
    facts = {"jobs": ids, "names": HOSTILE_NAMES, "began_at": int(began_at), "ended_at": int(time.time())}
    _write(folder / "facts.json", {**facts, "cluster": cluster.at.name, "nodes": cluster.nodes})
    if installed():
        _write(folder / "pyslurm.json", _told_by_pyslurm())
    else:
        with slurmrestd.on_socket(cluster) as address:
            asked = Slurmrestd(address, token_file="", user="", timeout_s=TIMEOUT_S)
            _record_rest(asked, known, began_at, folder)
    cluster.say(f"  written: {folder}")


def _told_by_pyslurm() -> list[dict[str, Any]]:
    told = asked_of_pyslurm(timeout_s=TIMEOUT_S)
    source = Pyslurm(timeout_s=TIMEOUT_S, tell=lambda: told)
    if source.why_not:
        raise LabError(source.why_not)
    print(f"  pyslurm: {len(source.queue())} jobs")
    return told


def _record_rest(asked: Slurmrestd, known: set[int], began_at: float, folder: Path) -> None:
    answers: list[dict[str, Any]] = []

    def kept(path: str) -> Json:
        answer = asked.get(path)
        answers.append({"path": path, "answer": _paths_of(answer) if "paths" in answer else answer})
        return answer

    try:
        _ask_everything(Rest(kept), known, began_at)
    finally:
        (folder / "rest.json").write_text("[\n" + ",\n".join(json.dumps(one) for one in answers) + "\n]\n")


def _paths_of(answer: Json) -> Json:
    """Of a description of the API what is asked of it: paths, and the names of their parameters."""
    return {
        "paths": {
            path: {"get": {"parameters": [{"name": one.get("name")} for one in what["get"].get("parameters", ())]}}
            for path, what in answer["paths"].items()
            if "get" in what
        }
    }


def _ask_everything(source: Source, known: set[int], began_at: float) -> None:
    """Put each question of the interface once."""
    facts = source.facts()
    jobs = source.queue()
    source.nodes()
    source.records(known | {job.job_id for job in jobs if job.job_id})
    source.usage(known)
    source.limits(facts.name)
    began, ended = (datetime.fromtimestamp(at, tz=timezone.utc) for at in (began_at, time.time()))
    source.ended(began, ended)
    print(f"  {source.name}: {len(jobs)} jobs of Slurm {facts.slurm_version}")


def _kept_answer(answers: list[dict[str, Any]], arguments: Sequence[str]) -> str:
    """What a command prints; kept with a word in the place of the separator, which is another one at each call."""
    answer = run_command(arguments, timeout_s=TIMEOUT_S)
    token = re.search(r"\bx[0-9a-f]{16}\b", " ".join(arguments))
    plain = answer.replace(token[0], SEPARATOR) if token else answer
    answers.append({"command": arguments[0], "arguments": [_told(one, token) for one in arguments], "answer": plain})
    return answer


def _told(argument: str, token: re.Match[str] | None) -> str:
    return argument.replace(token[0], SEPARATOR) if token else argument


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
