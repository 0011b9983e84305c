"""Training by the clock: what two ways of reading are worth in processor time, not only in tokens."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tilth.models.feeds import Feed
from tilth.models.optim import Options
from tilth.models.train import train_lm
from tilth.models.transformer import Decoder

__all__ = ["at_equal_time", "timed"]

Floats = npt.NDArray[np.float64]


def timed(
    model: Decoder,
    feed: Feed,
    options: Options,
    measure: Callable[[Decoder], Floats],
    *,
    points: int = 10,
    apart: bool = True,
) -> Floats:
    """Train, and say at `points` places what was spent and what is known, (points, 2).

    Columns are seconds of processor time of training alone, up to there, and the mean of what `measure` gives: lower is
    better. Times differ from run to run, so nothing that must repeat may depend on them.
    """
    seconds: list[float] = []
    began, other = time.process_time(), 0.0

    def look(looked: Decoder) -> Floats:
        nonlocal other
        now = time.process_time()
        seconds.append(now - began - other)
        found = measure(looked)
        other += time.process_time() - now
        return found

    trained = train_lm(model, feed, options, apart=apart, measure=look, points=points)
    assert trained.curve is not None
    return np.stack([np.array(seconds), trained.curve.losses.mean(1)], 1)


def at_equal_time(one: Floats, other: Floats) -> float:
    """How much lower the loss of `one` is than that of `other` when the quicker of the two is done.

    Args:
        one, other: from `timed`; between two looks the slower one's loss is taken to change evenly.

    >>> slow = np.array([[1.0, 5.0], [2.0, 4.0], [4.0, 3.0]])
    >>> quick = np.array([[1.0, 4.5], [2.0, 3.5], [3.0, 3.0]])
    >>> at_equal_time(quick, slow), at_equal_time(slow, quick)
    (0.5, -0.5)
    """
    end = min(one[-1, 0], other[-1, 0])
    mine, theirs = (float(np.interp(end, curve[:, 0], curve[:, 1])) for curve in (one, other))
    return theirs - mine
