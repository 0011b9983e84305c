"""A bound on the true error of something chosen from many by its error on checked items: PAC-Bayes for one choice.

The choice theta (a plan among many, a prompt, a rubric) has a prior P fixed before the data are seen; its complexity is
K = -ln P(theta): ln M for one of M candidates, or for a text the sum of -ln p(token | before) under a language model,
its end token included, so that all texts' P sum to at most 1. With error r on n independent items, losses in [0, 1],
each of these holds with probability 1 - delta for all theta at once:

    occam       kl(r || R) <= (K + ln(1 / delta)) / n                  (Langford 2005; the tightest here)
    seeger      kl(r || R) <= (K + ln(2 sqrt(n) / delta)) / n          (Seeger 2002, Maurer 2004)
    mcallester  R <= r + sqrt((K + ln(n / delta) + 2) / (2 n - 1))     (McAllester 1999)

kl is the divergence of two coins in nats, inverted for the largest R. Natural logarithms throughout. Traps: a prior
tuned on these items, or items shown inside the prompt, void it; so does another distribution than the items came from.
Akinwande et al. 2023 (arXiv 2310.03957) apply it to prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

__all__ = ["Certificate", "Kind", "certify", "choose", "kl", "kl_inverse", "text_nats"]

Kind = Literal["occam", "seeger", "mcallester"]


@dataclass(frozen=True)
class Certificate:
    """With confidence 1 - `delta`, the true error is at most `bound`; 1 says nothing."""

    bound: float
    risk: float
    nats: float
    items: int
    delta: float
    kind: Kind


def kl(risk: float, other: float) -> float:
    """Divergence in nats of a coin with probability `other` from one with probability `risk`."""
    total = 0.0
    for p, q in ((risk, other), (1 - risk, 1 - other)):
        if p > 0:
            total += p * np.log(p / q) if q > 0 else np.inf
    return float(total)


def kl_inverse(risk: float, room: float) -> float:
    """The largest R with kl(risk || R) <= room.

    >>> round(kl_inverse(0.0, 0.1), 6)  # 1 - exp(-0.1)
    0.095163
    """
    if room <= 0:
        return risk
    if risk >= 1 or kl(risk, 1 - 1e-15) <= room:
        return 1.0
    return float(brentq(lambda q: kl(risk, q) - room, risk, 1 - 1e-15, xtol=1e-14))


def certify(losses: npt.ArrayLike, nats: float, delta: float = 0.05, kind: Kind = "occam") -> Certificate:
    """Bound the true mean loss of one choice.

    Args:
        losses: of independent items, each in [0, 1].
        nats: K above; ``math.log(M)`` for one of M candidates.

    Raises:
        ValueError: when a loss lies outside [0, 1], there are none, or `nats` is negative.
    """
    values = np.asarray(losses, float)
    n = values.size
    if n == 0 or not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError("A certificate needs losses in [0, 1], at least one.")
    if not nats >= 0 or not 0 < delta < 1:
        raise ValueError(f"-ln P is at least 0 and delta lies between 0 and 1; got {nats} and {delta}.")
    risk = float(values.mean())
    if kind == "mcallester":
        bound = risk + float(np.sqrt((nats + np.log(n / delta) + 2) / (2 * n - 1)))
    else:
        penalty = np.log(1 / delta) if kind == "occam" else np.log(2 * np.sqrt(n) / delta)
        bound = kl_inverse(risk, float(nats + penalty) / n)
    return Certificate(min(1.0, bound), risk, float(nats), n, delta, kind)


def choose(
    losses: npt.NDArray[np.float64], nats: npt.ArrayLike, delta: float = 0.05, kind: Kind = "occam"
) -> tuple[int, Certificate]:
    """The candidate with the lowest bound, not the lowest error: the prior regularises.

    Args:
        losses: (candidates, items).
        nats: -ln P of each candidate; exp(-nats) must sum to at most 1.

    Raises:
        ValueError: when the prior sums to more than 1.
    """
    prior = np.asarray(nats, float)
    if float(np.exp(-prior).sum()) > 1 + 1e-9:
        raise ValueError("The candidates' prior probabilities sum to more than 1, so no bound holds.")
    made = [certify(row, float(k), delta, kind) for row, k in zip(losses, prior, strict=True)]
    best = min(range(len(made)), key=lambda i: made[i].bound)
    return best, made[best]


def text_nats(log_probabilities: npt.ArrayLike) -> float:
    """-ln P of a text from its tokens' natural log-probabilities, that of the end token included.

    Raises:
        ValueError: when one is positive, which no log-probability is.
    """
    values = np.asarray(log_probabilities, float)
    if values.size == 0 or (values > 0).any():
        raise ValueError("Log-probabilities of tokens are at most 0, and there is at least the end token's.")
    return float(-values.sum())
