"""Shell scripts that Slurm calls. Data, not code: nothing here is imported."""
