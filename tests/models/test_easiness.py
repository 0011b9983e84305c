"""Weights of ranked pairs: closed forms, bounds, and what they are compared within."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from tilth.models import easiness


def test_reciprocal_gives_unranked_the_least() -> None:
    assert easiness.reciprocal([2.0, np.nan]).tolist() == [0.5, 0.0]
    with pytest.raises(ValueError, match="begin at 1"):
        easiness.reciprocal([0.0])


def test_scores_are_compared_within_a_query() -> None:
    scores = [1.0, 2.0, 3.0, 100.0, 300.0, np.nan, 7.0, 7.0]
    queries = ["a", "a", "a", "b", "b", "b", "c", "c"]
    assert easiness.normalised(scores, queries).tolist() == [0.0, 0.5, 1.0, 0.0, 1.0, 0.0, 0.5, 0.5]
    turned = easiness.normalised(scores[::-1], queries[::-1])
    assert turned[::-1].tolist() == easiness.normalised(scores, queries).tolist()
    with pytest.raises(ValueError, match="3 scores and 1 queries"):
        easiness.normalised([1, 2, 3], ["a"])


def test_kde_is_the_integral_of_the_density_and_shrugs_off_an_outlier() -> None:
    scores = np.random.Generator(np.random.PCG64(0)).normal(size=40)
    found = easiness.kde(scores, np.zeros(40))
    quarters = np.subtract(*np.percentile(scores, [75, 25])) / 1.34
    spread = scores.std(ddof=1)
    density = gaussian_kde(scores, 0.9 * min(spread, quarters) / spread * 40 ** (-1 / 5))
    assert found == pytest.approx([density.integrate_box_1d(-np.inf, s) for s in scores], abs=1e-9)
    queries = np.zeros(41)
    out = np.append(scores, 1000.0)
    squeezed, kept = easiness.normalised(out, queries)[:40], easiness.kde(out, queries)[:40]
    assert np.ptp(squeezed) < 0.01
    assert np.ptp(kept) > 0.8
    assert easiness.kde([1.0, 1.0, np.nan, 2.0], ["a", "a", "a", "b"]).tolist() == [0.5, 0.5, 0.0, 0.5]


def test_d_of_passages_and_pairs() -> None:
    assert easiness.pointwise([0.9, 0.9], [True, False]) == pytest.approx([0.9, 0.1])
    assert easiness.pairwise([1.0, 0.0, 0.5], [0.0, 1.0, 0.5]).tolist() == [1.0, 0.0, 0.5]


def test_weights_rise_to_exactly_one() -> None:
    d = np.array([0.0, 0.3, 1.0])
    rows = np.array([easiness.weight(d, epoch, 7) for epoch in np.linspace(0, 9, 40)])
    assert rows[0].tolist() == d.tolist()
    assert (np.diff(rows, axis=0) >= 0).all()
    assert (rows >= d).all()
    assert (rows <= 1).all()
    assert (rows[np.linspace(0, 9, 40) >= 7] == 1.0).all()
    assert easiness.weight(d, 0, 7, anti=True).tolist() == (1 - d).tolist()
    assert easiness.weight(d, 3.5, 7)[1] == pytest.approx(0.65)
    assert (easiness.weight(d, 0, 0) == 1).all()
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        easiness.weight([1.2], 0, 5)


def test_the_mean_of_weighted_losses_is_not_the_product_of_means() -> None:
    """The cheaper form of the released code equals ours only where all pairs are equally easy."""
    losses = np.array([1.0, 3.0, 5.0])
    same = easiness.weight([0.4] * 3, 2, 10)
    assert (same * losses).mean() == pytest.approx(same.mean() * losses.mean())
    other = easiness.weight([0.1, 0.4, 0.9], 2, 10)
    assert abs((other * losses).mean() - other.mean() * losses.mean()) > 0.1
