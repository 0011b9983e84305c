"""Does the proof rank mixtures as the truth does, and exactly as a recount would?"""

from __future__ import annotations

import numpy as np
from scipy.stats import spearmanr

from tilth.core import Plan, Run
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.proofs.ngram import Ngram


def test_ranks_mixtures_by_their_distance_to_the_planted_one() -> None:
    probe = PlantedMixture()
    world = probe.build(2000, Run())
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    proof = Ngram(tokens=20_000)
    told = proof.mixtures(shares, start.sources, start, world.pool, world.goal, Run()).mean(1)
    truth = np.abs(shares - np.array([*BEST.values()])).sum(1)
    assert spearmanr(told, truth).statistic > 0.8
    assert proof.mixtures(np.array([[*BEST.values()]]), start.sources, start, world.pool, world.goal, Run()).mean() < (
        np.quantile(told, 0.05)
    )


def test_mixtures_agree_with_trials_of_plans() -> None:
    """The short cut and the real thing: mixtures from counts against plans that are filled and counted."""
    probe = PlantedMixture()
    world = probe.build(3000, Run())
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    proof = Ngram(tokens=27_000)
    shares = np.random.default_rng(1).dirichlet(np.ones(4), 12)
    quick = proof.mixtures(shares, start.sources, start, world.pool, world.goal, Run()).mean(1)
    slow = [
        proof.trial(probe.planned(start, dict(zip("abcd", row, strict=True))), world.pool, world.goal, Run()).mean()
        for row in shares
    ]
    assert spearmanr(quick, slow).statistic > 0.9


def test_whole_copies_of_sources_are_counted_exactly() -> None:
    """A plan that reads each source a whole number of times, against the same mixture from re-weighted counts."""
    probe = PlantedMixture(length=30)
    world = probe.build(400, Run())
    assert world.goal is not None
    plan = Plan.everything(world.pool, world.goal.budget)
    times = np.array([3, 1, 2, 1])
    repeats = times[plan.sources.index].astype(np.int32)
    copied = plan.revised({"use": "test"}, "copies", repeats=repeats)
    tokens = 10_000_000  # nothing is subsampled
    whole = Ngram(tokens=tokens).trial(copied, world.pool, world.goal, Run())

    from tilth.models.ngram import losses
    from tilth.proofs._text import tokenizer_for
    from tilth.proofs.ngram import _count, _items

    tokenizer = tokenizer_for(world.pool, Ngram().vocab)
    items = _items(world.goal.holdout, tokenizer, 2)
    counts = []
    for group in range(4):
        rows = np.flatnonzero(plan.sources.index == group)
        counts.append(_count(items, world.pool, rows, tokenizer, np.ones(rows.size, np.int32)))
    weighted = losses(items, counts, times[None].astype(float))[0]
    assert np.abs(weighted - whole).max() < 1e-6


def test_more_good_text_is_better_than_less() -> None:
    probe = PlantedMixture()
    world = probe.build(2000, Run())
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    good = probe.planned(start, BEST)
    assert Ngram(tokens=15_000).trial(good, world.pool, world.goal, Run()).mean() < (
        Ngram(tokens=1500).trial(good, world.pool, world.goal, Run()).mean()
    )
