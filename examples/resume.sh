#!/bin/bash
#SBATCH --job-name=resume
#SBATCH --requeue
#SBATCH --time=5
exec python "${EXAMPLES:-examples}/resume.py" --checkpoint "$HOME/resume-$SLURM_JOB_ID.json"
