"""sbatch templates and their manifests. Data, not code: nothing here is imported."""
