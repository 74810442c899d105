"""Which device stands behind each of Slurm's indices: found out once per boot, and kept for the rest of it.

slurmd counts the devices when it starts. One that falls off the bus later would move those after it to other indices,
had they to be counted anew, and jobs would seem to have each other's GPUs.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Mapping, Optional, Sequence, Tuple

from tracker.agent.hardware.slots import Slot

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MOST_BYTES = 1024 * 1024
_Name = Tuple[Optional[str], Optional[str]]


class KeptTable:
    """The table of this boot, in a file of the agent's."""

    def __init__(self, path: str, boot_id: str = BOOT_ID) -> None:
        self._path, self._boot_id = path, boot_id

    def settle(self, found: list[Slot], files: Sequence[Sequence[str]] | None) -> list[Slot]:
        """Return the slots as they were at the first look of this boot; the place of a device that is gone is empty.

        What is there now is taken and kept where gres.conf has changed, or there are devices that were not there then.
        Devices without a UUID cannot be told from each other, and are counted anew.
        """
        facts = {"boot": _text(self._boot_id), "files": files}
        now = {_name(slot): slot for slot in found}
        if len(now) < len(found) or not all(uuid for uuid, _ in now):
            return found
        kept = self._read(facts)
        if kept and set(now) <= set(kept):
            return [now.get(name, Slot(None, None)) for name in kept]
        self._write({**facts, "slots": list(now)})
        return found

    def _read(self, facts: Mapping[str, object]) -> list[_Name]:
        try:
            said = json.loads(_text(self._path))
            if {name: said[name] for name in facts} == json.loads(json.dumps(facts)):
                return [(str(uuid), None if part is None else str(part)) for uuid, part in said["slots"]]
        except (ValueError, KeyError, TypeError):
            pass  # there is none, or it is of another kind
        return []

    def _write(self, said: Mapping[str, object]) -> None:
        draft = f"{self._path}.new"
        with suppress(OSError):  # without it devices are counted anew the next time
            with open(draft, "w", encoding="utf-8") as file:
                json.dump(said, file)
            os.replace(draft, self._path)


def _name(slot: Slot) -> _Name:
    return slot.device.uuid if slot.device else None, slot.part.uuid if slot.part else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_BYTES).strip()
    except OSError:
        return ""
