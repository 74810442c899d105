"""One run on two nodes: every process logs, and all of it belongs to the same run.

sbatch examples/two_nodes.sh
"""

import math
import os
import time

import tracker

rank = int(os.environ.get("SLURM_PROCID", "0"))
tracker.init(experiment="two nodes", params={"processes": int(os.environ.get("SLURM_NTASKS", "1"))})
for step in range(50):
    tracker.log(
        {"loss": math.exp(-step / 20) + 0.02 * rank, "samples_per_s": 900 + 30 * math.sin(step) - 50 * rank}, step
    )
    time.sleep(0.1)
print(f"rank {rank} on {os.environ.get('SLURMD_NODENAME')} is done")
