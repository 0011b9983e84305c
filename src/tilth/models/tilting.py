"""The weights nearest to given ones whose weighted means are what they should be: exponential tilting.

Among all distributions over n records with the wanted means, the one with the least KL divergence from the base weights
q is ``w ~ q exp(beta . f)``: it changes what it must and nothing else, so what the features do not explain keeps its
distribution given them. `beta` minimises a convex dual by Newton steps. A bound on each weight keeps it convex: weights
are then ``min(most, q exp(a + beta . f))``, with `a` found along with `beta`. Used for text pools after the
moment constraints of arXiv 2209.06970; the mathematics is classical (Jaynes 1957).

Cost: O(n k^2) a step, some ten steps. Trap: means outside what the features span cannot be had; `slack` then gives the
best compromise, and `reached` says how far it came.

>>> f = np.array([[0.0], [0.0], [0.0], [1.0]])  # one of four has the attribute; half of the weight should
>>> tilt(f, np.array([0.5]), np.full(4, 0.25)).weights.round(4).tolist()
[0.1667, 0.1667, 0.1667, 0.5]
>>> tilt(f, np.array([0.5]), np.full(4, 0.25), most=np.full(4, 0.4), slack=1.0).reached
False
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Tilt", "scaled", "tilt"]

Floats = npt.NDArray[np.float64]
CLOSE = 1e-6  # means are reached when they miss by less than this, in standard deviations
STEPS = 100
FARTHEST = 1e4  # a coefficient, per standard deviation, beyond which the means are out of reach


@dataclass(frozen=True)
class Tilt:
    """A tilted distribution.

    Attributes:
        weights: (n,) they sum to 1.
        beta: (k,) per unit of each feature; positive where more of it was wanted.
        reached: whether the means are what was asked.
        kl: KL(weights || base) in nats.
        effective: effective sample size as a share of the base's: 1 where nothing changed.
    """

    weights: Floats
    beta: Floats
    reached: bool
    kl: float
    effective: float


def tilt(features: Floats, means: Floats, base: Floats, most: Floats | None = None, slack: float = 0.0) -> Tilt:
    """Weights nearest to `base` under which the features have the wanted means.

    Args:
        features: (n, k); none constant where `base` is positive.
        means: (k,) wanted.
        base: (n,) weights to stay near to; normalised here.
        most: (n,) bound of each weight; they must sum to 1 or more.
        slack: misses, in standard deviations, that are worth a nat: 0 asks for the means exactly.
    """
    q = base / base.sum()
    top = np.full(len(q), np.inf) if most is None else most
    centre = q @ features
    scale = np.sqrt(q @ (features - centre) ** 2)
    x = np.column_stack([(features - centre) / scale, np.ones(len(q))])
    aim = np.append((means - centre) / scale, 1.0)
    soft = np.append(np.full(len(means), slack**2), 0.0)

    def dual(b: Floats) -> tuple[float, Floats, npt.NDArray[np.bool_]]:
        """Its value, the weights it stands for, and which of them are not at their bound."""
        t = x @ b
        with np.errstate(over="ignore"):
            w = q * np.exp(np.minimum(t, 500.0))
        free = w < top
        w = np.where(free, w, top)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(free | (q <= 0), w, top * (1 + t - np.log(top / q)))
        value = np.where(q > 0, value, 0.0)
        return float(value.sum() - aim @ b + soft @ b**2 / 2), np.where(q > 0, w, 0.0), free

    b = np.zeros(len(aim))
    value, w, free = dual(b)
    for _ in range(STEPS):
        slope = x.T @ w - aim + soft * b
        if np.abs(slope).max() < CLOSE / 10 or np.abs(b[:-1]).max(initial=0.0) > FARTHEST:
            break
        inner = x[free]
        curve = (inner * w[free, None]).T @ inner + np.diag(soft + 1e-9)
        move = -np.linalg.solve(curve, slope)
        move *= min(1.0, 20.0 / np.abs(move).max())  # exp grows fast: no step leaps
        rate = 1.0
        while rate > 1e-8:
            tried = dual(b + rate * move)
            if tried[0] <= value + 1e-4 * rate * (slope @ move):
                break
            rate /= 2
        else:
            break
        b = b + rate * move
        value, w, free = tried
    w = scaled(w, top)
    off = np.abs(x.T @ w - aim)
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = float(np.where(w > 0, w * np.log(w / q), 0.0).sum())
        effective = float(1.0 / np.where(q > 0, w**2 / q, 0.0).sum())
    return Tilt(w, b[:-1] / scale, bool(off.max() < CLOSE), kl, effective)


def scaled(weights: Floats, most: Floats) -> Floats:
    """The weights times a constant, cut at `most`, so that they sum to 1 (or as near as `most` lets them)."""
    out = np.minimum(weights / max(weights.sum(), 1e-300), most)
    for _ in range(len(out)):
        left, free = 1.0 - out.sum(), (out < most) & (out > 0)
        if left <= 1e-12 or not free.any():
            break
        out = np.minimum(np.where(free, out * (1 + left / out[free].sum()), out), most)
    return np.asarray(out / max(out.sum(), 1.0))
