"""What a watcher cannot know here, and what that costs; each in a sentence for people."""

from __future__ import annotations

from tracker.slurm.records import ClusterFacts

SENTENCES = {
    "accounting": "Slurm has no accounting (slurmdbd): its controller tells how jobs end, and who cancelled one, what "
    "it used, and the ends of jobs that the controller forgot before we looked are not known.",
    "hooks": "No Prolog and Epilog are configured: which GPUs a job holds is not known; starts and ends are seen "
    "some seconds later. `tracker hooks install` puts that right.",
    "others": 'Only the jobs of one user are followed, as the watcher is not root\'s: `watch_users = "all"` follows '
    "all that Slurm shows it.",
}


def missing(facts: ClusterFacts, *, only_own: bool) -> list[str]:
    """Keys of `SENTENCES` for what this cluster and this watcher lack."""
    lacks = {
        "accounting": facts.has_accounting is False,
        "hooks": facts.has_prolog is False or facts.has_epilog is False,
        "others": only_own,
    }
    return [key for key, is_so in lacks.items() if is_so]
