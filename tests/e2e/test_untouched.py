"""What all the other tests of this folder did to the cluster."""

from __future__ import annotations

from tests.e2e.conftest import Site


def test_no_node_was_drained_by_all_this(site: Site) -> None:
    assert site.as_root("sinfo", "-h", "-R", "-o", "%n %E").strip() == ""
