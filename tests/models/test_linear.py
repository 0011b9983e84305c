"""Softmax regression against planted rules, planted probabilities and scikit-learn's optimum."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from tilth.core import Run
from tilth.models.linear import Linear, Rows, encode_labels, epochs, solve

Floats = np.ndarray


def sparse(rows: Rows) -> csr_matrix:
    return csr_matrix((rows.values, rows.indices, rows.indptr), shape=(len(rows), rows.width))


def planted(n: int, classes: int, seed: int, words: int = 60, length: int = 12) -> tuple[list[str], Floats, Floats]:
    """Texts, labels drawn from a softmax rule over word counts, and the rule's probabilities."""
    rng = np.random.default_rng(seed)
    rule = np.random.default_rng(99).normal(0, 1.2, (words, classes))
    drawn = rng.integers(0, words, (n, length))
    z = np.stack([rule[row].sum(0) for row in drawn]) / np.sqrt(length) * 2
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    labels = np.array([rng.choice(classes, p=row) for row in p])
    return [" ".join(f"w{w}" for w in row) for row in drawn], labels, p


def test_features_are_the_counted_ngrams() -> None:
    texts = pa.array(["Rain, rain on SOIL", "", None, "soil"])
    rows = Rows.of(texts, ngrams=2, buckets=1 << 20)
    assert rows.indptr.tolist() == [0, 6, 6, 6, 7]
    grams = Counter([("rain",), ("rain",), ("on",), ("soil",), ("rain", "rain"), ("rain", "on"), ("on", "soil")])
    expected = np.sort([np.log1p(c) for c in grams.values()])
    got = np.sort(rows.values[:6])
    assert got == pytest.approx(expected / np.linalg.norm(expected), rel=1e-6)
    alone = rows.take([3])
    assert alone.indices[0] in rows.indices[:6], "the same word falls into the same bucket, whatever its case"
    assert alone.values.tolist() == [1.0]
    assert (np.diff(rows.indices[:6]) > 0).all()


def test_take_repeats_and_reorders() -> None:
    rows = Rows.of(["a b", "c", "", "d e f"], ngrams=1)
    again = rows.take([3, 3, 2, 0])
    dense = sparse(rows).toarray() if rows.width < 10 else sparse(rows)[[3, 3, 2, 0]]
    assert (sparse(again) != dense).nnz == 0


def test_recovers_a_planted_linear_rule() -> None:
    texts, labels, _ = planted(8000, 4, seed=1)
    fresh, _, truth = planted(1000, 4, seed=2)
    rows, new = Rows.of(texts, 1), Rows.of(fresh, 1)
    for model in (solve(rows, labels, 4, l2=1e-4), [*epochs(rows, labels, 4, 5, Run().rng("order"), l2=1e-4)][-1]):
        agree = (model.probabilities(new).argmax(1) == truth.argmax(1)).mean()
        assert agree > 0.88, agree
    shuffled = np.random.default_rng(3).permutation(labels)
    chance = (solve(rows, shuffled, 4, l2=1e-4).probabilities(new).argmax(1) == truth.argmax(1)).mean()
    assert chance < 0.5


def test_probabilities_are_calibrated() -> None:
    texts, labels, _ = planted(6000, 3, seed=4)
    fresh, _, truth = planted(2000, 3, seed=5)
    rows, new = Rows.of(texts, 1), Rows.of(fresh, 1)
    for model in (solve(rows, labels, 3, l2=1e-4), [*epochs(rows, labels, 3, 5, Run().rng("order"), l2=1e-4)][-1]):
        p = model.probabilities(new)
        assert p.sum(1) == pytest.approx(np.ones(len(p)))
        top = p.max(1)
        bins = np.minimum((top * 10).astype(int), 9)
        right = truth[np.arange(len(p)), p.argmax(1)]  # the true chance of being right, without sampling noise
        gaps = [abs(top[bins == b].mean() - right[bins == b].mean()) for b in range(10) if (bins == b).sum() > 50]
        assert max(gaps) < 0.06, gaps
        assert np.abs(p - truth).mean() < 0.05


@pytest.mark.parametrize("weighted", [False, True])
def test_solve_is_scikit_learns_optimum(weighted: bool) -> None:
    texts, labels, _ = planted(300, 3, seed=6)
    weights = np.random.default_rng(7).integers(0, 4, 300).astype(float) if weighted else np.ones(300)
    rows, l2 = Rows.of(texts, 2, 1 << 12), 1e-3
    mine = solve(rows, labels, 3, weights=weights, l2=l2, tolerance=1e-7).probabilities(rows)
    theirs = LogisticRegression(C=1 / (l2 * weights.sum()), tol=1e-8, max_iter=5000)
    theirs.fit(sparse(rows), labels, sample_weight=weights)
    assert np.abs(mine - theirs.predict_proba(sparse(rows))).max() < 1e-3


def objective(model: Linear, rows: Rows, labels: Floats, weights: Floats, l2: float) -> float:
    nll = -model.log_probabilities(rows)[np.arange(len(rows)), labels]
    return float((weights * nll).sum() / weights.sum() + l2 / 2 * (model.weights.astype(float) ** 2).sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_epochs_approach_the_optimum(weighted: bool) -> None:
    texts, labels, _ = planted(500, 3, seed=8)
    weights = np.random.default_rng(9).integers(0, 4, 500).astype(float) if weighted else np.ones(500)
    rows, l2 = Rows.of(texts, 1), 1e-3
    best = objective(solve(rows, labels, 3, weights=weights, l2=l2, tolerance=1e-7), rows, labels, weights, l2)
    models = epochs(rows, labels, 3, 200, Run().rng("order"), weights=weights, l2=l2)
    values = [objective(m, rows, labels, weights, l2) for m in models]
    assert values[0] - best > 0.01
    assert 0 <= values[-1] - best < 0.002, (values[-1], best)


def test_early_models_tell_flipped_labels_apart() -> None:
    """Gold-label probabilities after each pass: true labels are learned before flipped ones."""
    rng = np.random.default_rng(10)
    labels = rng.integers(0, 4, 2000)
    words = np.where(rng.random((2000, 12)) < 0.4, labels[:, None] * 10, 40) + rng.integers(0, 10, (2000, 12))
    texts = [" ".join(f"w{w}" for w in row) for row in words]
    flipped = rng.random(2000) < 0.15
    given = np.where(flipped, (labels + rng.integers(1, 4, 2000)) % 4, labels)
    rows = Rows.of(texts, 2)
    gold = np.stack([m.gold(rows, given) for m in epochs(rows, given, 4, 12, Run().rng("order"), rate=2.0)])
    apart = gold[:, ~flipped].mean(1) - gold[:, flipped].mean(1)
    assert apart[0] > 0.3
    assert apart[-1] < apart[0], "in the end flipped labels are memorised"
    first = next(epochs(rows, given, 4, 1, Run().rng("order"), rate=2.0))
    el2n = np.linalg.norm(first.errors(rows, given), axis=1)
    assert np.mean(el2n[flipped][:, None] > el2n[~flipped][None]) > 0.9


def test_weights_are_repeats_and_zero_leaves_out() -> None:
    texts, labels, _ = planted(120, 3, seed=11)
    rows, weights = Rows.of(texts, 1), np.arange(120) % 3
    repeated = np.repeat(np.arange(120), weights)
    one = solve(rows, labels, 3, weights=weights, l2=1e-3, tolerance=1e-8)
    two = solve(rows.take(repeated), labels[repeated], 3, l2=1e-3, tolerance=1e-8)
    assert np.abs(one.probabilities(rows) - two.probabilities(rows)).max() < 1e-4
    bad = np.where(weights == 0, 2 - labels, labels)
    three = solve(rows, bad, 3, weights=weights, l2=1e-3, tolerance=1e-8)
    assert (three.weights == one.weights).all()


def test_same_generator_same_model_other_order_another() -> None:
    texts, labels, _ = planted(200, 3, seed=12)
    rows = Rows.of(texts)
    one, two, other = ([*epochs(rows, labels, 3, 2, Run(seed=s).rng("order"))][-1] for s in (1, 1, 2))
    assert (one.weights == two.weights).all()
    assert (one.weights != other.weights).any()


def test_unseen_columns_empty_rows_and_wrong_input() -> None:
    rows = Rows.of(["a b", "c d", "a", ""])
    labels = np.array([0, 1, 0, 0])
    model = solve(rows, labels, 2, l2=0.01)
    blank, unseen = model.probabilities(Rows.of(["", "zebra quagga"]))
    assert blank == pytest.approx(unseen), "what was never seen says nothing beyond the bias"
    assert model.probabilities(Rows.of([])).shape == (0, 2)
    for wrong, said in (([0, 1, 0], "3 labels"), ([0, 1, 0, 2], "0 to 1")):
        with pytest.raises(ValueError, match=said):
            solve(rows, wrong, 2)
    with pytest.raises(ValueError, match="positive"):
        solve(rows, labels, 2, weights=np.zeros(4))
    unlabeled = np.array([0, 1, 0, -1])
    assert solve(rows, unlabeled, 2, weights=[1, 1, 1, 0]).bias.size == 2


def test_labels_as_numbers() -> None:
    numbers, names = encode_labels(["b", "a", None, "b"])
    assert (numbers.tolist(), names) == ([1, 0, -1, 1], ("a", "b"))
    assert encode_labels(["c", "b"], names)[0].tolist() == [-1, 1]


def test_no_warning_on_extreme_scores() -> None:
    rows = Rows.of(["a", "b"] * 20, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = [*epochs(rows, [0, 1] * 20, 2, 300, Run().rng("o"), l2=0.0, rate=50.0)][-1]
    assert np.isfinite(model.log_probabilities(rows)).all()
