"""What runs inside a job: finds the job's run and appends what is logged to the job's spool (docs/spool.md).

Needs the standard library only and runs on Python 3.8. Nothing in here raises into a training script, waits for a
network or starts a process; what takes long is done by one thread (`worker`), which starts when there is such work.

A training waits for what its first call loads. So `typing`, 3 ms of that, is for type checkers only, which take a name
TYPE_CHECKING for true, and what few scripts need is loaded when they do (`tests/client/test_start.py` holds both).
"""
