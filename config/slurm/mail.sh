#!/bin/sh
# Optional: Slurm's mails (--mail-type) link to the job's run. MailProg=/etc/slurm/tracker/mail.sh on the controller's host.

url=https://tracker.example.org

case ${SLURM_JOB_ID-} in
'' | *[!0-9]*) exec /usr/bin/mail "$@" </dev/null ;;
esac
printf '%s/runs/%s:%s\n' "$url" "${SLURM_CLUSTER_NAME-}" "$SLURM_JOB_ID" | exec /usr/bin/mail "$@"
