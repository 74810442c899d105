"""What `./run bench slurm` asks of its parts."""

from __future__ import annotations

from lab.cluster import Cluster


class Asked:
    """What a part should do: quickly or as a whole, on a cluster that is brought up when the first part needs it."""

    def __init__(self, cluster: Cluster, *, quick: bool) -> None:
        self.quick = quick
        self._cluster, self._is_up = cluster, False

    def cluster(self) -> Cluster:
        """The cluster, with hooks, server and agents at work."""
        if not self._is_up:
            self._cluster.remove()
            self._is_up = True
            self._cluster.up()
        return self._cluster

    def close(self) -> None:
        """Remove the cluster."""
        if self._is_up:
            self._cluster.remove()
