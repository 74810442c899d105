"""Brings the agent's job folders, the sampler and the files of samples together."""

from __future__ import annotations

import re
from typing import Any, Callable, Iterator

from tracker.agent.backlog import Part
from tracker.agent.hardware.files import SampleFiles
from tracker.agent.hardware.job import Target
from tracker.agent.hardware.process import SamplerProcess
from tracker.agent.scripts import ENDS_BYTES, Script, script_of
from tracker.agent.spool import JobSpools, SpoolFolder
from tracker.events import JobFolder, parse_hook_event

_MOST_JOBS = 512
_MOST_SCRIPTS = 64  # of one run outside Slurm


class Hardware:
    """Samples the jobs of this node. With `shared` the jobs of Slurm are elsewhere: only scripts here are sampled.

    `gpu_table` is the file in which the GPUs of this boot are kept.
    """

    def __init__(
        self,
        spools: JobSpools,
        node: str,
        shared: bool,
        every_s: float,
        gpu_files: list[list[str]] | None,
        gpu_table: str,
        say: Callable[[str], None],
    ) -> None:
        self._spools, self._shared, self._every_s = spools, shared, every_s
        self._process = SamplerProcess(node, every_s, gpu_files, gpu_table, say)
        self._files = SampleFiles(node)
        self._names: list[str] = []
        self._gpus: dict[str, tuple[int, ...]] = {}
        self._component: dict[str, int] = {}  # of a het job: the job id on this node
        self._over: set[str] = set()
        self._scripts: dict[tuple[str, str], Script | None] = {}

    def look(self, folders: dict[str, SpoolFolder]) -> None:
        """Sample the jobs of these folders. Does nothing when sampling is off."""
        if not self._every_s:
            return
        for memory in (self._gpus, self._component):
            for name in [name for name in memory if name not in folders]:
                del memory[name]
        self._over.intersection_update(folders)
        self._scripts = {file: script for file, script in self._scripts.items() if file[0] in folders}
        self._process.watch(list(self._targets(folders))[:_MOST_JOBS])
        for folder, uid, line in self._process.heard():
            self._files.add(folder, uid, line)
        self._files.forget(set(folders))
        self._names = list(folders)

    def hook(self, content: bytes) -> None:
        """Learn from a hook's event which GPUs of this node a job has, or that it is over here."""
        said = parse_hook_event(content)
        folder = f"{said.get('SLURM_CLUSTER_NAME')}.{said.get('SLURM_HET_JOB_ID') or said.get('SLURM_JOB_ID')}"
        if said.get("HOOK") == "prolog":
            indices = said.get("SLURM_JOB_GPUS", "").split(",")
            self._gpus[folder] = tuple(int(one) for one in indices if re.match(r"[0-9]{1,4}\Z", one))
            self._over.discard(folder)
            if said.get("SLURM_HET_JOB_ID") and re.match(r"[0-9]{1,12}\Z", said.get("SLURM_JOB_ID", "")):
                self._component[folder] = int(said["SLURM_JOB_ID"])
        elif said.get("HOOK") == "epilog" and not said.get("SLURM_HET_JOB_ID"):
            self._over.add(folder)

    def asks(self) -> list[str]:
        """Return the folders of jobs whose GPUs this agent does not know: it was started after their Prolog."""
        if self._shared or not self._every_s:
            return []
        return [name for name in self._names if name not in self._gpus and not name.startswith("local.")][:_MOST_JOBS]

    def learn(self, gpus: Any) -> None:
        """Take the server's answer: GPUs by folder."""
        for name, indices in gpus.items() if isinstance(gpus, dict) else ():
            if isinstance(indices, list) and all(type(one) is int and 0 <= one < 10_000 for one in indices):
                self._gpus.setdefault(name, tuple(indices))

    def parts(self, room_bytes: int) -> Iterator[Part]:
        """Yield samples that the server lacks."""
        return self._files.parts(room_bytes)

    def is_mine(self, part: Part) -> bool:
        """Say whether the part is one of samples."""
        return self._files.is_mine(part)

    def took(self, part: Part, answer: dict[str, Any]) -> None:
        """Learn from the server's answer to a part."""
        self._files.took(part, answer)

    def close(self) -> None:
        """End the sampler."""
        self._process.close()

    def _targets(self, folders: dict[str, SpoolFolder]) -> Iterator[Target]:
        for name, folder in folders.items():
            parsed = JobFolder.parse(name)
            if parsed is None or name in self._over:
                continue
            if parsed.run_id is not None:
                scripts = tuple(sorted(self._living(folder)))
                if scripts:
                    yield Target(name, folder.uid, None, None, scripts, ())
            elif not self._shared:
                job_id = self._component.get(name, parsed.job_id)
                yield Target(name, folder.uid, parsed.cluster, job_id, (), self._gpus.get(name, ()))

    def _living(self, folder: SpoolFolder) -> Iterator[Script]:
        """The scripts on this machine that write into a folder."""
        for writer, size in sorted(folder.sizes.items())[:_MOST_SCRIPTS]:
            file = (folder.name, writer)
            if size and file not in self._scripts:
                first, newline, _ = self._spools.read_ends(*file, ENDS_BYTES)[0].partition(b"\n")
                self._scripts[file] = script_of(first) if newline else None
            script = self._scripts.get(file)
            if script is not None:
                yield script
