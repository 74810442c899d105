#!/bin/bash
#SBATCH --job-name=cancelled
#SBATCH --time=5
# Somebody will run scancel on it.
exec python -c '
import time, tracker
tracker.init(experiment="cancelled")
for step in range(10_000):
    tracker.log({"loss": 1 / (1 + step)}, step)
    time.sleep(0.2)
'
