"""Everything said to Slurm, or read from it. Only this room runs Slurm's commands."""
