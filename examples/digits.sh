#!/bin/bash
#SBATCH --job-name=digits
#SBATCH --array=0-3
#SBATCH --gres=gpu:1
#SBATCH --mem=250M
#SBATCH --time=5
# Each task takes the learning rate of its number; nothing here knows of tracker.
exec python "${EXAMPLES:-examples}/digits.py" "$@"
