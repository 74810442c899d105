#!/bin/sh
# tracker's Epilog, run by slurmd as root on each node when a job's processes are gone: leaves one event for the agent,
# which then ships what the job left in its spool. See docs/spool.md. A spool on a file system that hangs would hang it.

# An Epilog that fails drains the node, so whatever happens it succeeds.
trap 'exit 0' EXIT HUP INT TERM PIPE
exec </dev/null >/dev/null 2>&1

# shellcheck source-path=SCRIPTDIR source=common.sh
. "${0%/*}/common.sh"
find_spool "${0%/*}/hooks.conf" || exit 0
prepare_spool && write_event epilog
exit 0
