"""What online policies share: arithmetic of shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["floored", "named", "softmax"]

Floats = npt.NDArray[np.float64]


def softmax(scores: Floats) -> Floats:
    """Shares in proportion to the exponential of scores; minus infinity gives 0.

    >>> softmax(np.log([1.0, 3.0])).tolist()
    [0.25, 0.75]
    """
    raised = np.exp(scores - scores.max())
    return np.asarray(raised / raised.sum())


def floored(shares: Floats, equal: float) -> Floats:
    """The same with a part of it shared out equally, so that no group is left for good."""
    return np.asarray((1 - equal) * shares + equal / shares.size)


def named(names: Sequence[str], shares: Floats) -> dict[str, float]:
    """Group -> share."""
    return dict(zip(names, shares.tolist(), strict=True))
