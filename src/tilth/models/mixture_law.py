"""Mixture laws: the loss as a stated function of the shares, fitted to runs, with what the fit does not know.

Three forms, each small enough for a few dozen runs and smooth, so that it can be minimised by its slope:

* ``exponential``: c + sum_k exp(t_k . shares), the data mixing law (Ye et al. 2024, arXiv 2403.16952), where a target
  is made of domains that nobody named. Terms are added while they predict runs that were held out better. It is convex.
* ``power``: c + sum_g a_g (share_g + e_g)^-s_g, BiMix at one length of training (Ge et al. 2024, arXiv 2405.14908);
  e_g, what others teach of a group that is left out, is ours. Convex too.
* ``bilinear``: shares and the products of every two of them (Scheffé 1958, the classical polynomial of mixtures): the
  only one here in which two groups help or hinder each other.

``auto`` takes the one that predicts held-out runs best. Trap: a law is a guess at the form; outside the mixtures that
were tried it says what the form says.

>>> tried = np.random.default_rng(0).dirichlet(np.ones(3), 30)
>>> law = fit(tried, 2 + np.exp(tried @ [-1.0, 0.5, 0.2]), "exponential")
>>> law.predict(np.array([[0.5, 0.3, 0.2]])).round(3), float((2 + np.exp(-0.31)).round(3))
(array([2.733]), 2.733)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares

from tilth.core.errors import BadInput
from tilth.core.run import Run

__all__ = ["Kind", "MixtureLaw", "cross_validated", "fit"]

Floats = npt.NDArray[np.float64]
Kind = Literal["auto", "exponential", "power", "bilinear"]

LEAST_FLOOR = 1e-4  # a share of nothing has a power, too
MOST = 3.0  # log of a power law's parameters
MOST_TERMS = 4
STARTS = 4
LEAN = 0.02  # how strongly parameters are held near where they start from, in standard deviations of the losses
BOUND = 25.0  # of exponents
FOLDS = 5
LEAST = 6
"""Fewest runs a law is fitted to."""


class _Form(ABC):
    """A function of shares with parameters. Losses are standardised before it sees them."""

    @abstractmethod
    def values(self, p: Floats, x: Floats) -> Floats:
        """(n,) for mixtures x (n, groups)."""

    @abstractmethod
    def by_shares(self, p: Floats, x: Floats) -> Floats:
        """(n, groups): the slope of each value by the shares."""

    @abstractmethod
    def fitted(self, x: Floats, z: Floats, rng: np.random.Generator, first: Floats | None = None) -> Floats:
        """The parameters nearest to standardised losses z; from `first` alone where it is given."""


class _Smooth(_Form):
    """A form that is fitted by least squares from several starts."""

    @abstractmethod
    def by_parameters(self, p: Floats, x: Floats) -> Floats:
        """(n, parameters)."""

    @abstractmethod
    def start(self, groups: int, rng: np.random.Generator) -> Floats:
        """Random parameters."""

    @abstractmethod
    def centre(self, groups: int) -> Floats:
        """What parameters lean to."""

    def fitted(self, x: Floats, z: Floats, rng: np.random.Generator, first: Floats | None = None) -> Floats:
        groups = x.shape[1]
        centre = self.centre(groups)
        lean = np.full(centre.size, LEAN)
        lean[0] = 0.0  # the constant
        starts = [first] if first is not None else [self.start(groups, rng) for _ in range(STARTS)]

        def residuals(p: Floats) -> Floats:
            return np.concatenate([self.values(p, x) - z, lean * (p - centre)])

        def slopes(p: Floats) -> Floats:
            return np.vstack([self.by_parameters(p, x), np.diag(lean)])

        ends = [least_squares(residuals, s, slopes, method="lm", max_nfev=200) for s in starts]
        return np.asarray(min(ends, key=lambda end: float(end.cost)).x)


@dataclass(frozen=True)
class _Exponential(_Smooth):
    terms: int

    def _parts(self, p: Floats, x: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
        t = p[1:].reshape(self.terms, -1)
        power = x @ t.T
        return t, np.exp(np.clip(power, -BOUND, BOUND)), np.abs(power) < BOUND

    def values(self, p: Floats, x: Floats) -> Floats:
        return np.asarray(p[0] + self._parts(p, x)[1].sum(1))

    def by_shares(self, p: Floats, x: Floats) -> Floats:
        t, e, inside = self._parts(p, x)
        return np.asarray((e * inside) @ t)

    def by_parameters(self, p: Floats, x: Floats) -> Floats:
        _, e, inside = self._parts(p, x)
        slope = (e * inside)[:, :, None] * x[:, None, :]
        return np.hstack([np.ones((len(x), 1)), slope.reshape(len(x), -1)])

    def start(self, groups: int, rng: np.random.Generator) -> Floats:
        return np.concatenate([[-1.0], rng.normal(0, 1.5, self.terms * groups)])

    def centre(self, groups: int) -> Floats:
        return np.zeros(1 + self.terms * groups)


@dataclass(frozen=True)
class _Power(_Smooth):
    def _parts(self, p: Floats, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        a, s, floor = np.exp(np.clip(p[1:].reshape(3, -1), -BOUND, MOST))
        base = x + floor + LEAST_FLOOR
        return s, floor, base, a * base**-s

    def values(self, p: Floats, x: Floats) -> Floats:
        return np.asarray(p[0] + self._parts(p, x)[3].sum(1))

    def by_shares(self, p: Floats, x: Floats) -> Floats:
        s, _, base, e = self._parts(p, x)
        return np.asarray(-s * e / base)

    def by_parameters(self, p: Floats, x: Floats) -> Floats:
        s, floor, base, e = self._parts(p, x)
        inside = (p[1:] < MOST) & (p[1:] > -BOUND)
        slope = np.hstack([e, -e * s * np.log(base), -e * s * floor / base])
        return np.hstack([np.ones((len(x), 1)), slope * inside])

    def start(self, groups: int, rng: np.random.Generator) -> Floats:
        return np.asarray(self.centre(groups) + np.concatenate([[0.0], rng.normal(0, 0.7, 3 * groups)]))

    def centre(self, groups: int) -> Floats:
        return np.concatenate([[-1.0], np.full(groups, -2.0), np.full(groups, -1.0), np.full(groups, -4.0)])


@dataclass(frozen=True)
class _Bilinear(_Form):
    def _features(self, x: Floats) -> Floats:
        one, two = np.triu_indices(x.shape[1], 1)
        return np.hstack([x, x[:, one] * x[:, two]])

    def values(self, p: Floats, x: Floats) -> Floats:
        return np.asarray(self._features(x) @ p)

    def by_shares(self, p: Floats, x: Floats) -> Floats:
        m = x.shape[1]
        pairs = np.zeros((m, m))
        pairs[np.triu_indices(m, 1)] = p[m:]
        return np.asarray(p[:m] + x @ (pairs + pairs.T))

    def fitted(self, x: Floats, z: Floats, rng: np.random.Generator, first: Floats | None = None) -> Floats:
        """Ridge; how much is decided by the error of each run left out, which has a closed form."""
        f = self._features(x)
        u, d, v = np.linalg.svd(f, full_matrices=False)
        best, found = np.inf, np.zeros(f.shape[1])
        for ridge in np.logspace(-6, 2, 17):
            shrunk = d**2 / (d**2 + ridge)
            left = (z - (u * shrunk) @ (u.T @ z)) / np.maximum(1 - (u**2 * shrunk).sum(1), 1e-6)
            error = float((left**2).mean())
            if error < best:
                best, found = error, v.T @ (d / (d**2 + ridge) * (u.T @ z))
        return found


@dataclass(frozen=True)
class MixtureLaw:
    """A fitted law.

    Attributes:
        kind: which of the forms.
        error: root mean squared error on runs that were held out, in the losses' unit.
        held_out: (runs,) what fits that had not seen a run predicted for it.
        terms: of the exponential form, else 1.
    """

    kind: Kind
    error: float
    held_out: Floats
    terms: int
    _form: _Form
    _parameters: Floats
    _resampled: Floats
    _shift: float
    _scale: float

    def predict(self, mixtures: Floats) -> Floats:
        """(n,) losses of mixtures (n, groups)."""
        return np.asarray(self._shift + self._scale * self._form.values(self._parameters, np.asarray(mixtures, float)))

    def slope(self, shares: Floats) -> tuple[float, Floats]:
        """The loss of one mixture (groups,), and its gradient."""
        x = np.asarray(shares, float)[None]
        return float(self.predict(x)[0]), np.asarray(self._scale * self._form.by_shares(self._parameters, x)[0])

    def resampled(self, mixtures: Floats) -> Floats:
        """(resamples, n): what fits to runs drawn with replacement predict."""
        x = np.asarray(mixtures, float)
        return np.stack([self._shift + self._scale * self._form.values(p, x) for p in self._resampled])

    def spread(self, mixtures: Floats) -> Floats:
        """(n,) standard deviation of the predictions over resamples of the runs: what the fit does not know.

        It does not count what the form cannot say; `error` does.
        """
        return np.asarray(self.resampled(mixtures).std(0, ddof=1))

    def interval(self, mixtures: Floats, level: float = 0.95) -> Floats:
        """(2, n) bounds of the loss, by percentiles over resamples."""
        return np.asarray(np.quantile(self.resampled(mixtures), [(1 - level) / 2, (1 + level) / 2], axis=0))


def fit(
    mixtures: npt.ArrayLike, losses: npt.ArrayLike, kind: Kind = "auto", *, resamples: int = 50, run: Run | None = None
) -> MixtureLaw:
    """The law that is nearest to the runs.

    Args:
        mixtures: (runs, groups), rows sum to 1; a mixture may be there several times, with other seeds.
        losses: (runs,).
        kind: ``auto`` tries all forms on held-out runs.
        resamples: fits to runs drawn with replacement, for `spread`.
        run: decides starts and resamples.

    Raises:
        BadInput: when shapes do not fit, a number is not finite, or there are fewer than six runs.
    """
    x, y = _checked(mixtures, losses)
    run = run or Run()
    shift, scale = float(y.mean()), float(y.std()) or 1.0
    z = (y - shift) / scale
    named, form, held = min(
        ((name, form, _held_out(form, x, z, run)) for name, form in _candidates(kind, x, z, run)),
        key=lambda found: _missed(found[2], z),
    )
    parameters = form.fitted(x, z, run.rng("fit"))
    again = []
    for i in range(resamples):
        rng = run.rng("resample", i)
        rows = rng.integers(len(x), size=len(x))
        again.append(form.fitted(x[rows], z[rows], rng, parameters))
    return MixtureLaw(
        kind=named,
        error=scale * _rmse(held, z),
        held_out=shift + scale * held,
        terms=getattr(form, "terms", 1),
        _form=form,
        _parameters=parameters,
        _resampled=np.array(again).reshape(resamples, parameters.size),
        _shift=shift,
        _scale=scale,
    )


def cross_validated(mixtures: npt.ArrayLike, losses: npt.ArrayLike, kind: Kind = "auto") -> Floats:
    """Predictions for each run by a law that has not seen it; also `MixtureLaw.held_out`."""
    return fit(mixtures, losses, kind, resamples=0).held_out


def _candidates(kind: Kind, x: Floats, z: Floats, run: Run) -> Any:
    """The forms to choose from; exponential terms are added as long as held-out runs gain by it."""
    if kind in ("auto", "bilinear"):
        yield "bilinear", _Bilinear()
    if kind in ("auto", "power"):
        yield "power", _Power()
    if kind in ("auto", "exponential"):
        best = np.inf
        for terms in range(1, MOST_TERMS + 1):
            if terms > 1 and 1 + terms * x.shape[1] > len(x) / 2:
                return
            error = _missed(_held_out(_Exponential(terms), x, z, run), z)
            if error >= best:
                return
            best = error
            yield "exponential", _Exponential(terms)


def _held_out(form: _Form, x: Floats, z: Floats, run: Run) -> Floats:
    fold = run.rng("folds").permutation(len(x)) % FOLDS
    out = np.empty(len(x))
    for k in range(FOLDS):
        held = fold == k
        out[held] = form.values(form.fitted(x[~held], z[~held], run.rng("fold", k)), x[held])
    return out


def _rmse(held: Floats, z: Floats) -> float:
    return float(np.sqrt(((held - z) ** 2).mean()))


def _missed(held: Floats, z: Floats) -> float:
    """The mean error of forms that compete: squares would let a few hopeless mixtures decide."""
    return float(np.abs(held - z).mean())


def _checked(mixtures: npt.ArrayLike, losses: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(mixtures, float), np.asarray(losses, float)
    if x.ndim != 2 or y.shape != (len(x),):
        raise BadInput(f"A law needs mixtures (runs, groups) and losses (runs,). Got {x.shape} and {y.shape}.")
    if len(x) < LEAST:
        raise BadInput(f"A law needs at least {LEAST} runs, better five per group. Got {len(x)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise BadInput("A law needs finite shares and losses; leave out runs that failed.")
    if (x < 0).any() or np.abs(x.sum(1) - 1).max() > 1e-3:
        worst = int(np.abs(x.sum(1) - 1).argmax())
        raise BadInput(
            f"Shares are at least 0 and each run's sum to 1. Those of run {worst} sum to {x[worst].sum():g}."
        )
    return x, y
