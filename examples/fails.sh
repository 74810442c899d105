#!/bin/bash
#SBATCH --job-name=fails
#SBATCH --time=1
echo "reading the data …"
echo "data.csv: no such file" >&2
exit 3
