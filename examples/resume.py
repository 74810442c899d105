"""Train with checkpoints, so that a requeue costs nothing: the same run goes on where it stopped.

sbatch --requeue examples/resume.sh, and then: scontrol requeue JOBID
"""

import argparse
import json
import math
import time
from pathlib import Path

import tracker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("checkpoint.json"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--pause", type=float, default=0.2)
    options = parser.parse_args()

    tracker.init(experiment="resume", params={"steps": options.steps})
    first = json.loads(options.checkpoint.read_text())["step"] + 1 if options.checkpoint.exists() else 0
    print(f"going on at step {first}" if first else "a fresh start", flush=True)
    for step in range(first, options.steps):
        tracker.log({"loss": 1 / (1 + step) + 0.05 * math.sin(step / 3)}, step)
        save(options.checkpoint, step)
        time.sleep(options.pause)


def save(checkpoint: Path, step: int) -> None:
    """Write the checkpoint whole or not at all: the requeue may come at any moment."""
    temporary = checkpoint.with_suffix(".tmp")
    temporary.write_text(json.dumps({"step": step}))
    temporary.replace(checkpoint)


if __name__ == "__main__":
    main()
