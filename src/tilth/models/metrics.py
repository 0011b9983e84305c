"""Measures for people to read beside a proof's loss: none of them is paired, smooth or proper enough to decide on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Law", "calibration_error", "exact_match", "linear_law", "macro_f1", "normalised", "pair_accuracy"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Law:
    """A straight line through points: ``score = intercept + slope * loss``, and how well it fits."""

    slope: float
    intercept: float
    pearson: float
    error: float
    """Root mean square of the residuals."""


def linear_law(losses: npt.ArrayLike, scores: npt.ArrayLike) -> Law:
    """The least-squares line of tasks' scores on losses, such as bits per character, over a family of models.

    >>> law = linear_law([1.0, 2.0, 3.0], [0.9, 0.7, 0.5])
    >>> round(law.slope, 3), round(law.intercept, 3), round(law.pearson, 3)
    (-0.2, 1.1, -1.0)
    """
    x, y = np.asarray(losses, np.float64), np.asarray(scores, np.float64)
    slope, intercept = np.polyfit(x, y, 1)
    residual = y - (intercept + slope * x)
    pearson = np.corrcoef(x, y)[0, 1]
    return Law(float(slope), float(intercept), float(pearson), float(np.sqrt((residual**2).mean())))


def macro_f1(predicted: npt.ArrayLike, truth: npt.ArrayLike, classes: int) -> float:
    """The mean over classes of the harmonic mean of precision and recall.

    Classes that are neither predicted nor true are left out; one that is only one of the two counts 0.

    >>> macro_f1([0, 0, 1, 1], [0, 1, 1, 1], 3)  # (2 / 3 + 4 / 5) / 2
    0.7333333333333334
    """
    p, t = np.asarray(predicted, np.int64), np.asarray(truth, np.int64)
    right = np.bincount(t[p == t], minlength=classes)
    sums = np.bincount(p, minlength=classes) + np.bincount(t, minlength=classes)
    present = sums > 0
    return float((2 * right[present] / sums[present]).mean()) if present.any() else 0.0


def calibration_error(probabilities: Floats, truth: npt.ArrayLike, bins: int = 15) -> float:
    """Expected calibration error: how far the confidence in the predicted class is from how often it is right.

    Predictions are put into bins of equal width by confidence; the absolute gaps are averaged by the number of
    predictions. It is 0 for a calibrated model in the limit and above 0 by chance on few items. Source: Guo et al.
    2017.

    >>> calibration_error(np.array([[0.8, 0.2]] * 5), [0, 0, 0, 0, 1])
    0.0
    """
    confidence, predicted = probabilities.max(1), probabilities.argmax(1)
    right = predicted == np.asarray(truth, np.int64)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, confidence - right, bins)
    return round(float(np.abs(gaps).sum() / max(1, confidence.size)), 12)


def pair_accuracy(margins: npt.ArrayLike) -> float:
    """How often the chosen answer's margin over the rejected one is positive; a tie counts half."""
    m = np.asarray(margins, np.float64)
    return float(((m > 0) + 0.5 * (m == 0)).mean()) if m.size else 0.0


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and surplus white space, as SQuAD compares answers.

    >>> normalised("The  soil, warm.")
    'soil warm'
    """
    kept = "".join(c for c in text.lower() if c.isalnum() or c.isspace())
    return " ".join(word for word in kept.split() if word not in ("a", "an", "the"))


def exact_match(said: str, wanted: str, loose: bool = False) -> bool:
    """Whether two answers are the same, white space aside.

    Args:
        loose: compare them `normalised`. Not for numbers: without punctuation -1.5 is 15.
    """
    if loose:
        return normalised(said) == normalised(wanted)
    return said.split() == wanted.split()
