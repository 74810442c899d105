"""The sampler as a process of the agent's: started when there are jobs, given up when it hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any, Callable, Iterator

from tracker.agent.hardware.job import Target

SILENCE_S = 20.0  # a sampler that says nothing for so long hangs
_START_AGAIN_AFTER_S = 60.0
_WITHOUT_GPUS_S = 600.0  # after it hung: nothing hangs as readily as a driver
_IDLE_S = 60.0
_DEATH_S = 2.0
_CODE = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tracker.agent.hardware.sampler import main; main(sys.argv[2])"
)
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


class SamplerProcess:
    """Says which jobs there are and hears what they do. Never blocks and never raises."""

    def __init__(
        self, node: str, every_s: float, gpu_files: list[list[str]] | None, gpu_table: str, say: Callable[[str], None]
    ) -> None:
        self._options = {"node": node, "every_s": every_s, "gpu_files": gpu_files, "gpu_table": gpu_table}
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._abandoned: list[subprocess.Popen[bytes]] = []
        self._wanted: list[dict[str, Any]] = []
        self._told: list[dict[str, Any]] | None = None
        self._unsent = self._unread = b""
        self._heard_s = self._needed_s = 0.0
        self._not_before_s = self._no_gpus_until_s = 0.0

    def watch(self, targets: list[Target]) -> None:
        """Say which jobs there are now."""
        now_s = time.monotonic()
        if targets:
            self._needed_s = now_s
            if self._process is None and now_s >= self._not_before_s:
                self._start(now_s)
        elif self._process is not None and now_s > self._needed_s + _IDLE_S:
            self.close()
        with_gpus = now_s >= self._no_gpus_until_s
        self._wanted = [{**one._asdict(), "gpus": one.gpus if with_gpus else ()} for one in targets]
        self._send()

    def heard(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield folder, owner and line of each sample that came."""
        for message in self._messages():
            if "say" in message:
                self._say(str(message["say"])[:300])
            elif "folder" in message:
                yield message["folder"], message["uid"], message["line"]
        if self._process is not None and self._told and time.monotonic() > self._heard_s + SILENCE_S:
            self._say("the sampler of the hardware hangs: it is started again, for a while without GPUs")
            self._no_gpus_until_s = time.monotonic() + _WITHOUT_GPUS_S
            self._give_up(0.0)

    def close(self) -> None:
        """End the process."""
        process = self._process
        if process is not None:
            self._give_up(0.0)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_DEATH_S)

    def _start(self, now_s: float) -> None:
        # Without the site's packages it takes half the memory, and it needs none of them.
        command = [sys.executable, "-I", "-S", "-c", _CODE, _HOME, json.dumps(self._options)]
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as problem:
            self._say(f"the hardware is not sampled: {problem}")
            self._not_before_s = now_s + _START_AGAIN_AFTER_S
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
        self._process, self._told, self._heard_s = process, None, now_s
        self._unsent = self._unread = b""

    def _send(self) -> None:
        if self._process is None or self._process.stdin is None:
            return
        if self._wanted != self._told and not self._unsent:
            if not self._told:
                self._heard_s = time.monotonic()  # it had nothing to say before
            self._told = self._wanted
            self._unsent = json.dumps({"jobs": self._told}, separators=(",", ":")).encode() + b"\n"
        with suppress(BlockingIOError, BrokenPipeError):  # it hangs or is gone, which is noticed elsewhere
            if self._unsent:
                self._unsent = self._unsent[os.write(self._process.stdin.fileno(), self._unsent) :]

    def _messages(self) -> Iterator[dict[str, Any]]:
        if self._process is None or self._process.stdout is None:
            return
        try:
            raw = os.read(self._process.stdout.fileno(), 1024 * 1024)
        except BlockingIOError:
            return
        if not raw:
            self._give_up(_START_AGAIN_AFTER_S)
            return
        self._heard_s = time.monotonic()
        *lines, self._unread = (self._unread + raw).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def _give_up(self, pause_s: float) -> None:
        process, self._process, self._told = self._process, None, None
        self._not_before_s = time.monotonic() + pause_s
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        # In an uninterruptible sleep it does not even die.
        self._abandoned = [one for one in [*self._abandoned, process] if one.poll() is None]
