"""Every reason that the three versions of Slurm can give is told in plain words.

`recordings/VERSION/reasons.txt` holds what that version's own library answers for each number of a reason
(`job_reason_string` of libslurmfull, since 23.02 `job_state_reason_string`).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker.slurm.reasons import in_words

RECORDINGS = Path(__file__).parent / "recordings"
VERSIONS = ("22.05", "24.11", "26.05")


@pytest.mark.parametrize("version", VERSIONS)
def test_every_reason_has_its_own_words(version: str) -> None:
    codes = (RECORDINGS / version / "reasons.txt").read_text().split()
    assert len(codes) > 190
    for code in codes:
        words = in_words(code).words
        assert words and not words.startswith("Slurm says"), code
        assert words[0].islower() and not words.endswith("."), code


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("QOSGrpGRES", "its QOS would hold more GPUs than allowed, with this job"),
        ("QOSMaxGRESPerUser", "its user (in its QOS) would hold more GPUs than allowed, with this job"),
        ("MaxGRESPerAccount", "its account (in its QOS) would hold more GPUs than allowed, with this job"),
        ("AssocMaxJobsLimit", "its user (in its account) already runs as many jobs as allowed"),
        ("AssocGrpCPUMinutesLimit", "its account would use more processor time than it was given, with this job"),
        (
            "MaxCpuRunMinsPerUser",
            "the running jobs of its user (in its QOS) would claim more processor time than allowed, with this one",
        ),
        ("QOSMaxWallDurationPerJobLimit", "it asks for more time than a job of its QOS may"),
        ("AssocMaxMemPerNode", "it asks for more memory on a node than a job of its account may"),
        ("QOSMinGRES", "it asks for less than its QOS demands: GPUs"),
    ],
)
def test_a_limit_says_whose_it_is_and_of_what(code: str, words: str) -> None:
    assert in_words(code).words == words


def test_what_will_never_start_is_told_apart_from_what_waits() -> None:
    assert in_words("DependencyNeverSatisfied").never
    assert in_words("QOSMaxCpuPerJobLimit").never
    assert in_words("QOSMinNode").never
    assert not in_words("Resources").never
    assert not in_words("AssocGrpCpuLimit").never


def test_details_and_unknown_words_are_passed_on_without_what_a_terminal_takes_for_an_order() -> None:
    detailed = in_words("ReqNodeNotAvail, UnavailableNodes:n[1-2]")
    assert detailed.words == "a node that it asks for is not available (UnavailableNodes:n[1-2])"
    assert in_words("BrandNew").words == "Slurm says: BrandNew"
    assert in_words(None).words == "it has not been looked at yet by Slurm"
    assert len(in_words("ReqNodeNotAvail," + "x" * 100_000).words) < 300
    assert "\n" not in in_words("ReqNodeNotAvail,a\nb").words
