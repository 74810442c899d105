#!/bin/bash
#SBATCH --job-name=too-long
#SBATCH --time=1
# Slurm ends it at its limit; what it logged until then is all there.
exec python -c '
import time, tracker
tracker.init(experiment="time limit")
for step in range(10_000):
    tracker.log({"loss": 1 / (1 + step)}, step)
    time.sleep(0.2)
'
