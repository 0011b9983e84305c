"""Published numbers, known distributions, spheres of known dimension and hypotheses that can be counted."""

from __future__ import annotations

from math import inf, lgamma, log, pi

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import chi2, ncx2, spearmanr

from tilth.models.inductive_bias import closed_form_bits, exact_bits, intrinsic_dimension, log_probability, margin

Floats = npt.NDArray[np.float64]


@pytest.mark.parametrize(
    ("samples", "m", "radius", "classes", "gap", "error", "bits"),
    [
        (60_000, 14, 17.179045827, 10, 2.398708482, 0.001, 1.485e16),
        (73_257, 19, 53.869324851, 10, 1.576699817, 0.01, 1.213e31),
        (50_000, 27, 54.915678678, 10, 2.750641462, 0.01, 3.438e32),
        (1_280_901, 48, 943.5923, 1000, 65, 0.1, 3.583e41),
    ],
)
def test_published_sets(
    samples: int, m: float, radius: float, classes: int, gap: float, error: float, bits: float
) -> None:
    """MNIST, SVHN, CIFAR10, ImageNet; natural for binary logarithms would be off by 1.44."""
    assert closed_form_bits(samples, m, radius, classes, gap, error) == pytest.approx(bits, rel=1e-3)


def test_exponential_in_dimension_and_polynomial_in_the_gap() -> None:
    dims = [*range(5, 30)]
    logs = np.array([log(closed_form_bits(10_000, m, 1.0, 2, 0.02, 0.01)) for m in dims])
    steps = np.diff(logs)
    assert steps.min() > log(2 * pi / 0.02 / 30)  # each dimension multiplies by about M / m
    gaps = np.geomspace(0.001, 0.1, 9)
    slopes = np.diff([log(closed_form_bits(1000, 6, 1.0, 2, gap, 0.01)) for gap in gaps]) / np.diff(np.log(gaps))
    assert slopes == pytest.approx(-6 * np.ones(8), abs=0.6)


def sphere(n: int, m: int, seed: int = 0, ambient: int = 50) -> Floats:
    """Points of an m-sphere, turned into more dimensions."""
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, m + 1))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points @ np.linalg.qr(rng.normal(size=(ambient, m + 1)))[0].T)


@pytest.mark.parametrize("m", [1, 2, 4, 8])
def test_dimension_of_spheres(m: int) -> None:
    assert intrinsic_dimension(sphere(2000, m), 5) == pytest.approx(m, rel=0.12), "and not the 50 they lie in"
    assert np.isnan(intrinsic_dimension(np.zeros((3, 2)), 5))


def test_bits_of_spheres_grow_as_their_dimension_says() -> None:
    dims = [*range(2, 9)]
    found = [intrinsic_dimension(sphere(2000, m), 5) for m in dims]
    slopes = [
        np.polyfit(dims, [log(closed_form_bits(2000, m, 1.0, 2, 0.02, 0.01)) for m in some], 1)[0]
        for some in ([float(m) for m in dims], found)
    ]
    assert slopes[1] == pytest.approx(slopes[0], rel=0.1)


def test_margin_by_hand() -> None:
    rng = np.random.default_rng(1)
    rows, labels = rng.normal(size=(700, 3)), rng.integers(0, 3, 700)
    far = np.linalg.norm(rows[:, None] - rows, axis=2)
    assert margin(rows, labels) == pytest.approx(far[labels[:, None] != labels].min())
    assert margin(rows, np.zeros(700, int)) == inf


@pytest.mark.parametrize("n", [1, 2, 3, 10, 200])
def test_tails_of_known_distributions(n: int) -> None:
    one = np.ones(n)
    for limit in (1e-8 * n, 1e-3 * n, 0.1 * n, 0.5 * n, 1.0 * n, 2.0 * n, 5.0 * n):
        wanted = chi2.logcdf(limit, n)
        if np.isfinite(wanted):  # scipy's own goes under at -745
            assert log_probability(limit, one, 0 * one) == pytest.approx(wanted, rel=1e-8, abs=1e-9)
            assert log_probability(3 * limit, 3 * one, 0 * one) == pytest.approx(wanted, rel=1e-8, abs=1e-9)
    for limit in (0.5 * n, 2.0 * n, 4.0 * n, 9.0 * n):
        assert log_probability(limit, one, one * 1.5) == pytest.approx(log(ncx2.cdf(limit, n, 2.25 * n)), rel=1e-6)
        big = 30 * np.ones(n)
        if (wanted := ncx2.cdf(limit * 400, n, 900.0 * n)) > 1e-290:
            assert log_probability(limit * 400, one, big) == pytest.approx(log(wanted), rel=1e-6, abs=1e-9)
    assert log_probability(0.0, one, one) == -inf
    deep = log_probability(1e-8 * n, one, 0 * one)  # ln of x^(n/2) / (2^(n/2) Gamma(n/2 + 1)), what is left near 0
    assert deep == pytest.approx(n / 2 * log(1e-8 * n / 2) - lgamma(n / 2 + 1), rel=1e-6)


def test_uneven_weights_against_sampling() -> None:
    rng = np.random.default_rng(2)
    weights, shifts = np.array([3.0, 1.0, 0.2, 0.01]), np.array([0.3, 1.5, 0.0, 4.0])
    values = (rng.normal(size=(400_000, 4)) + shifts) ** 2 @ weights
    for limit in (0.3, 1.0, 4.0, 10.0):
        assert np.exp(log_probability(limit, weights, shifts)) == pytest.approx((values <= limit).mean(), rel=0.05)


def task(n: int, teacher: int, seed: int, width: int = 40) -> tuple[Floats, Floats, Floats, Floats]:
    """A linear teacher on the first `teacher` of `width` features, n training rows and 30 of test."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n + 30, width))
    x[:, :teacher] = rng.normal(size=(n + 30, teacher)) / np.sqrt(teacher)
    y = x @ rng.normal(size=(width, 1))
    return x[:n], y[:n], x[n:], y[n:]


def test_equals_counting_hypotheses() -> None:
    train, train_y, test, test_y = task(3, 6, 0)
    rng = np.random.default_rng(1)
    basis = np.linalg.svd(train, full_matrices=False)[2]
    z = rng.normal(size=(200_000, 40))
    weights = np.linalg.pinv(train) @ train_y + (z - z @ basis.T @ basis).T
    errors = ((test @ weights - test_y) ** 2).mean(0)
    for wanted in (0.05, 0.2, 0.6):
        bits, _ = exact_bits(train, train_y, test, test_y, wanted)
        assert 2**-bits == pytest.approx((errors <= wanted).mean(), rel=0.06)


def test_bits_rise_with_dimension_and_fall_with_examples() -> None:
    """Hypotheses that are not made to fit would need the same bits however many examples there are."""
    dims = [4, 8, 12, 16, 20, 24]
    by_dim = [np.mean([exact_bits(*task(3, d, s), 0.05)[0] for s in range(10)]) for d in dims]
    assert spearmanr(dims, by_dim).statistic >= 0.95
    sizes = [0, 4, 8, 12, 16, 20]
    by_size = [np.mean([exact_bits(*task(n, 20, s), 0.05)[0] for s in range(10)]) for n in sizes]
    assert spearmanr(sizes, by_size).statistic <= -0.95
    assert max(exact_bits(*task(25, 20, 0), 0.05)) < 1e-9


def test_features_that_suit_need_fewer_bits() -> None:
    """The teacher is a wave of low frequency: waves as features against random signs."""
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (60, 1))
    y = np.sin(3 * x)
    waves = np.concatenate([f(k * x) / k for k in range(1, 9) for f in (np.sin, np.cos)], axis=1)
    noise = rng.normal(size=(60, 16)) / 4
    suited, other = (exact_bits(f[:10], y[:10], f[10:], y[10:], 0.1)[0] for f in (waves, noise))
    assert suited < 0.5 * other


def test_what_no_hypothesis_reaches() -> None:
    rows = np.ones((4, 1))
    bits, floor = exact_bits(rows[:2], rows[:2], rows, 2 * rows, 0.5)
    assert bits == inf
    assert floor == pytest.approx(1.0)
    assert exact_bits(rows[:0], rows[:0], rows, np.array([[1.0], [-1.0], [1.0], [-1.0]]), 0.5)[0] == inf
