#!/bin/sh
# tracker's Prolog, run by slurmd as root on each node before a job starts: makes the job's spool folder, owned by the
# job's user, and leaves one event for the agent. See docs/spool.md. A spool on a file system that hangs would hang it.

# A Prolog that fails drains the node, so whatever happens it succeeds.
trap 'exit 0' EXIT HUP INT TERM PIPE
exec </dev/null >/dev/null 2>&1

# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
find_spool "${0%/*}/hooks.conf" || exit 0
prepare_spool || exit 0
if name_job_folder && is_number "${SLURM_JOB_UID-}" && is_number "${SLURM_JOB_GID-}" && [ ! -L "$job_folder" ]; then
    install -d -m 0700 -o "$SLURM_JOB_UID" -g "$SLURM_JOB_GID" -- "$job_folder"
fi
write_event prolog
exit 0
