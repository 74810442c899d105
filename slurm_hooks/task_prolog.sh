#!/bin/sh
# tracker's TaskProlog, run by slurmstepd as the job's user before each task: what it prints becomes the environment of
# the task, so the job finds the spool folder that the Prolog made for it.

# A TaskProlog that fails fails the job, so whatever happens it succeeds.
trap 'exit 0' EXIT HUP INT TERM PIPE
exec </dev/null 2>/dev/null

# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
find_spool "${0%/*}/hooks.conf" || exit 0
name_job_folder && is_mine "$job_folder" && [ -w "$job_folder" ] && printf 'export TRACKER_SPOOL=%s\n' "$job_folder"
exit 0
