"""KCenter leaves a smaller radius than a random draw and facility_location, exactly or in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from tests.exams.vectors import clustered, planned, pool_of, radius

from tilth.policies.select.facility_location import FacilityLocation
from tilth.policies.select.k_center import KCenter
from tilth.policies.select.sample import Sample

SIZES = [600, 400, 100, 50, 20, 10, 5, 3, 1, 1]


@pytest.mark.parametrize("seed", range(3))
def test_reaches_every_planted_cluster(seed: int) -> None:
    values, group = clustered(SIZES, 16, seed)
    pool = pool_of(values)
    ours, drawn, cover, worst = (
        planned(policy, pool, 15, seed=seed).kept
        for policy in (KCenter(), Sample(), FacilityLocation(), KCenter().worst())
    )
    assert len(set(group[ours])) == 10
    assert len(set(group[drawn])) < 8
    assert radius(values, ours) < min(radius(values, drawn), radius(values, cover))
    assert radius(values, worst) > radius(values, ours)


def test_both_ways_of_the_exact_traversal_agree_and_tell_the_radius() -> None:
    values, _ = clustered([n * 4 for n in SIZES], 16, 5)
    pool = pool_of(values)
    rows = planned(KCenter(block=1000), pool, 40)
    pairs = planned(KCenter(block=8192), pool, 40)
    assert rows.decisions[0].details["blocks"] == pairs.decisions[0].details["blocks"] == 1
    assert (rows.kept == pairs.kept).all()
    assert rows.decisions[0].details["radius"] == pytest.approx(radius(values, rows.kept), abs=1e-3)


def test_blocks_keep_the_radius_near() -> None:
    values, group = clustered([n * 4 for n in SIZES], 16, 6)
    pool = pool_of(values)
    exact = planned(KCenter(), pool, 200).kept
    cut = planned(KCenter(block=1000, exact=0), pool, 200)
    assert cut.decisions[0].details["blocks"] == 8
    assert radius(values, cut.kept) < 1.3 * radius(values, exact)
    assert radius(values, cut.kept) < radius(values, planned(Sample(), pool, 200).kept)
    assert len(set(group[cut.kept])) == 10
    assert planned(KCenter(block=100, exact=0), pool, 20).decisions[0].warnings


def test_equal_records_come_last() -> None:
    values = np.repeat(clustered([1] * 20, 8, 0)[0], 5, 0)
    kept = planned(KCenter(), pool_of(values), 20).kept
    assert kept.reshape(20, 5).sum(1).tolist() == [1] * 20
