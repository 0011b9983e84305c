"""The shared directions must be found, and the lasso must be a lasso."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.models.relevance import fit_heads, lasso, least_norm, shared_basis


def test_finds_the_shared_directions() -> None:
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(30, 3)))[0]
    heads = rng.normal(size=(3, 12))
    source = np.repeat(np.arange(12), 60)
    x = rng.normal(size=(source.size, 30))
    y = ((x @ basis) * heads[:, source].T).sum(1, keepdims=True) + rng.normal(0, 0.5, (source.size, 1))
    found = shared_basis(x, y, source, 12, 3)
    assert found.T @ found == pytest.approx(np.eye(3), abs=1e-9)
    overlap = np.linalg.svd(found.T @ basis)[1]
    own = np.linalg.svd(fit_heads(x, y, source, 12)[:, :, 0].T, full_matrices=False)[0][:, :3]
    assert overlap.min() > 0.95
    assert overlap.min() > np.linalg.svd(own.T @ basis)[1].min(), "turns improve on the sources' own regressions"


def test_sources_without_records_get_no_head() -> None:
    heads = fit_heads(np.eye(2), np.ones((2, 1)), np.array([0, 2]), 4)
    assert (heads[[1, 3]] == 0).all()
    assert heads[0].ravel() == pytest.approx([0.5, 0.0])


@pytest.mark.parametrize("positive", [False, True])
def test_lasso_is_that_of_scikit_learn(positive: bool) -> None:
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(0)
    heads, target = rng.normal(size=(12, 20)), rng.normal(size=12)
    right = heads.T @ target
    bar = 0.1 * (right.max() if positive else np.abs(right).max())
    theirs = Lasso(alpha=bar / 12, fit_intercept=False, positive=positive, tol=1e-12, max_iter=100_000).fit(
        heads, target
    )
    assert lasso(heads, target, 0.1, positive) == pytest.approx(theirs.coef_, abs=1e-5)


def test_ends_of_the_penalty() -> None:
    heads = np.random.default_rng(0).normal(size=(5, 3))
    truth = np.array([1.0, -2.0, 0.5])
    assert lasso(heads, heads @ truth, 0.0) == pytest.approx(truth, abs=1e-4)
    assert least_norm(heads, heads @ truth) == pytest.approx(truth)
    assert (lasso(heads, heads @ truth, 0.999) != 0).sum() <= 1
    assert (lasso(heads, np.zeros(5), 0.1) == 0).all()
