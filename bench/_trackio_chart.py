"""Charts of trackio, as its page gets them, but without HTTP: run by the peers' Python, in a folder for its data.

Takes how many points, how many are to be shown, and how often to ask; prints seconds and processor seconds as JSON.
"""

from __future__ import annotations

import json
import math
import random
import sys
import time

CHUNK = 100_000


def main(points: int, shown: int, rounds: int) -> None:
    """Fill a run, and get its chart again and again."""
    from trackio.sqlite_storage import SQLiteStorage  # noqa: PLC0415  # only the peers' Python has it

    chance = random.Random(1)
    for first in range(0, points, CHUNK):
        steps = list(range(first, min(first + CHUNK, points)))
        logged = [{"loss": 2.3 * math.exp(-step / 300_000) + 0.12 + chance.gauss(0, 0.03)} for step in steps]
        SQLiteStorage.bulk_log("bench", "run", logged, steps=steps)
    took_s, cpu_s = [], time.process_time()
    for _ in range(rounds):
        began_s = time.perf_counter()
        found = SQLiteStorage.get_logs("bench", "run", max_points=shown)
        took_s.append(time.perf_counter() - began_s)
    cpu_s = (time.process_time() - cpu_s) / rounds
    print(json.dumps({"took_s": took_s, "cpu_s": cpu_s, "answer_bytes": len(json.dumps(found, default=str))}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
