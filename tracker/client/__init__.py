"""What runs inside a job: finds the job's run and appends what is logged to the job's spool (docs/spool.md).

Needs the standard library only and runs on Python 3.8. Nothing in here raises into a training script, waits for a
network or starts a process; what takes long is done by one thread (`worker`), which starts when there is such work.
"""
