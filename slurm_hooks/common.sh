# shellcheck shell=sh
# What tracker's hooks share. It is read with `.`, which starts no program.
#
# Everything that Slurm hands over is data: it is compared and printed, never evaluated. A hook that meets anything
# unexpected does nothing; it neither waits nor complains, because Slurm drains the node of a hook that fails.

LC_ALL=C
PATH=/usr/bin:/bin
umask 077
set -f

is_name() {
    case $1 in '' | *[!A-Za-z0-9_-]*) return 1 ;; esac
}

is_number() {
    case $1 in '' | *[!0-9]*) return 1 ;; esac
}

# Sets `spool` to the folder that hooks.conf names; `%n` stands for the node.
find_spool() {
    spool=
    [ -f "$1" ] && [ -r "$1" ] || return 1
    while IFS= read -r line; do
        case $line in spool=*) spool=${line#spool=} ;; esac
    done <"$1"
    case $spool in
    *%n*)
        # A node's name may have dots, but `..` must not lead out of the spool.
        case ${SLURMD_NODENAME-} in '' | .* | *[!A-Za-z0-9._-]*) return 1 ;; esac
        spool=${spool%%"%n"*}$SLURMD_NODENAME${spool#*"%n"}
        ;;
    esac
    case $spool in /*) ;; *) return 1 ;; esac
}

# Sets `job_folder`, the place of this job's spool. A het job's components have ids of their own in a Prolog, but all their
# tasks are told the leader's, so that is the one that names the folder on every node.
# shellcheck disable=SC2034 # the hooks use it
name_job_folder() {
    job_id=${SLURM_HET_JOB_ID:-${SLURM_JOB_ID-}}
    is_name "${SLURM_CLUSTER_NAME-}" && is_number "$job_id" && job_folder=$spool/jobs/$SLURM_CLUSTER_NAME.$job_id
}

# A folder that another user owns or planted is none of ours.
is_mine() {
    # shellcheck disable=SC3067 # dash, bash, ksh and busybox know -O; asking stat(1) would cost an exec
    [ ! -L "$1" ] && [ -d "$1" ] && [ -O "$1" ]
}

# Makes spool, events and jobs where they are missing, and says whether they can be trusted.
prepare_spool() {
    [ -d "$spool/jobs" ] || install -d -m 0755 -- "$spool" "$spool/jobs"
    [ -d "$spool/events" ] || install -d -m 0700 -- "$spool/events"
    is_mine "$spool/." && is_mine "$spool/jobs" && is_mine "$spool/events"
}

# write_event HOOK: one write(2) and no program started. Its last record tells the agent that the event is whole.
write_event() {
    is_number "${SLURM_JOB_ID-}" || return 1
    event=$spool/events/$1.$SLURM_JOB_ID.$$.event
    set -- "HOOK=$1" \
        ${SLURM_CLUSTER_NAME+"SLURM_CLUSTER_NAME=$SLURM_CLUSTER_NAME"} \
        ${SLURM_JOB_ID+"SLURM_JOB_ID=$SLURM_JOB_ID"} \
        ${SLURM_JOB_SLUID+"SLURM_JOB_SLUID=$SLURM_JOB_SLUID"} \
        ${SLURM_HET_JOB_ID+"SLURM_HET_JOB_ID=$SLURM_HET_JOB_ID"} \
        ${SLURM_JOB_RESTART_COUNT+"SLURM_JOB_RESTART_COUNT=$SLURM_JOB_RESTART_COUNT"} \
        ${SLURM_JOB_START_TIME+"SLURM_JOB_START_TIME=$SLURM_JOB_START_TIME"} \
        ${SLURM_JOB_END_TIME+"SLURM_JOB_END_TIME=$SLURM_JOB_END_TIME"} \
        ${SLURM_JOB_USER+"SLURM_JOB_USER=$SLURM_JOB_USER"} \
        ${SLURM_JOB_UID+"SLURM_JOB_UID=$SLURM_JOB_UID"} \
        ${SLURM_JOB_GID+"SLURM_JOB_GID=$SLURM_JOB_GID"} \
        ${SLURM_JOB_ACCOUNT+"SLURM_JOB_ACCOUNT=$SLURM_JOB_ACCOUNT"} \
        ${SLURM_JOB_PARTITION+"SLURM_JOB_PARTITION=$SLURM_JOB_PARTITION"} \
        ${SLURM_JOB_QOS+"SLURM_JOB_QOS=$SLURM_JOB_QOS"} \
        ${SLURMD_NODENAME+"SLURMD_NODENAME=$SLURMD_NODENAME"} \
        ${SLURM_JOB_NODELIST+"SLURM_JOB_NODELIST=$SLURM_JOB_NODELIST"} \
        ${SLURM_NODELIST+"SLURM_NODELIST=$SLURM_NODELIST"} \
        ${SLURM_JOB_NUM_NODES+"SLURM_JOB_NUM_NODES=$SLURM_JOB_NUM_NODES"} \
        ${SLURM_JOB_CPUS_PER_NODE+"SLURM_JOB_CPUS_PER_NODE=$SLURM_JOB_CPUS_PER_NODE"} \
        ${SLURM_JOB_NTASKS+"SLURM_JOB_NTASKS=$SLURM_JOB_NTASKS"} \
        ${SLURM_JOB_GPUS+"SLURM_JOB_GPUS=$SLURM_JOB_GPUS"} \
        ${CUDA_VISIBLE_DEVICES+"CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES"} \
        ${SLURM_JOB_WORK_DIR+"SLURM_JOB_WORK_DIR=$SLURM_JOB_WORK_DIR"} \
        ${SLURM_JOB_STDOUT+"SLURM_JOB_STDOUT=$SLURM_JOB_STDOUT"} \
        ${SLURM_JOB_STDERR+"SLURM_JOB_STDERR=$SLURM_JOB_STDERR"} \
        ${SLURM_JOB_COMMENT+"SLURM_JOB_COMMENT=$SLURM_JOB_COMMENT"} \
        ${SLURM_JOB_EXTRA+"SLURM_JOB_EXTRA=$SLURM_JOB_EXTRA"} \
        ${SLURM_JOB_EXIT_CODE+"SLURM_JOB_EXIT_CODE=$SLURM_JOB_EXIT_CODE"} \
        ${SLURM_JOB_EXIT_CODE2+"SLURM_JOB_EXIT_CODE2=$SLURM_JOB_EXIT_CODE2"} \
        ${SLURM_JOB_DERIVED_EC+"SLURM_JOB_DERIVED_EC=$SLURM_JOB_DERIVED_EC"} \
        END=1
    # On a full disk an event is cut short: better none than half of one.
    printf '%s\0' "$@" >"$event" || rm -f -- "$event"
}
