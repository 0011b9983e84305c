"""Limits: what every mixture must keep to, whatever a policy decides; and the mixtures that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadRecipe, UsageError

__all__ = ["Limits", "Room", "divergence"]

Floats = npt.NDArray[np.float64]
_SLACK = 1e-9


@dataclass(frozen=True)
class Limits:
    """Bounds on the sources' shares of what is read. None of them bounds anything unless stated.

    Attributes:
        repeats: most epochs of a source, whatever cap a policy states.
        kl: most that a mixture may differ from natural shares, as KL(mixture || natural) in nats.
        floor: source -> least share.
        ceiling: source -> most share.
        licenses: licences that records may have; records of others are left out before the first decision.

    Raises:
        BadRecipe: when they contradict themselves.
    """

    repeats: float | None = None
    kl: float | None = None
    floor: Mapping[str, float] = field(default_factory=dict)
    ceiling: Mapping[str, float] = field(default_factory=dict)
    licenses: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.repeats is not None and self.repeats < 1:
            raise BadRecipe(f"limits.repeats is at least 1. Got {self.repeats:g}.")
        if self.kl is not None and self.kl <= 0:
            raise BadRecipe(
                f"limits.kl is more than 0; natural shares themselves are the policy `natural`. Got {self.kl}."
            )
        for name, share in [*self.floor.items(), *self.ceiling.items()]:
            if not 0 <= share <= 1:
                raise BadRecipe(f"A share is a number from 0 to 1. limits has {share} for {name!r}.")
        if sum(self.floor.values()) > 1 + _SLACK:
            raise BadRecipe(f"limits.floor asks for {sum(self.floor.values()):.0%} in all. Lower some.")
        for name, least in self.floor.items():
            if least > self.ceiling.get(name, 1.0):
                raise BadRecipe(f"limits has a floor above the ceiling for {name!r}: {least} and {self.ceiling[name]}.")

    @property
    def bind(self) -> bool:
        """Whether shares are bounded at all."""
        return bool(self.repeats or self.kl or self.floor or self.ceiling)

    def room(self, names: Sequence[str], natural: Floats, most: Floats) -> Room:
        """The mixtures of these sources that are allowed, where of each there is no more than `most` to read.

        Raises:
            UsageError: when there are none, or a source is named that is not there.
        """
        for name in [*self.floor, *self.ceiling]:
            if name not in names:
                raise UsageError(f"limits name the source {name!r}; there are {', '.join(names)}.")
        low = np.array([self.floor.get(name, 0.0) for name in names])
        high = np.minimum(most, [self.ceiling.get(name, 1.0) for name in names])
        return Room(tuple(names), natural, low, high, np.inf if self.kl is None else self.kl)

    def as_dict(self) -> dict[str, Any]:
        """What is stated, as plain data; empty when nothing is."""
        return {name: value for name, value in asdict(self).items() if value not in (None, {})}

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Limits:
        """The inverse of `as_dict`."""
        licenses = given.get("licenses")
        return cls(**{**given, "licenses": None if licenses is None else tuple(licenses)})


@dataclass(frozen=True)
class Room:
    """The mixtures of n groups that a plan allows: between `low` and `high`, and near enough to the natural shares.

    Attributes:
        names: the groups.
        natural: (n,) shares of what there is to read.
        low, high: (n,) least and most share; `high` counts ceilings and what the cap on epochs lets be read.
        kl: most KL(mixture || natural), in nats; infinite when unbounded.

    Raises:
        UsageError: when no mixture is allowed, saying what stands in the way.

    >>> room = Room(("a", "b", "c"), np.array([0.5, 0.3, 0.2]), np.array([0.1, 0, 0]), np.array([1, 0.4, 1]))
    >>> room.nearest(np.array([0.0, 0.8, 0.2])).round(3).tolist()
    [0.1, 0.4, 0.5]
    """

    names: Sequence[str]
    natural: Floats
    low: Floats
    high: Floats
    kl: float = np.inf

    def __post_init__(self) -> None:
        for name, low, high in zip(self.names, self.low, self.high, strict=True):
            if low > high + _SLACK:
                raise UsageError(
                    f"limits.floor wants {low:.1%} from {name!r}, and it has enough for {high:.1%} of the budget. "
                    f"Lower the floor, raise `repeats` or `cap`, or loosen what drops its records."
                )
        if self.high.sum() < 1 - 1e-6:
            short = f"The sources may give no more than {self.high.sum():.1%} of the budget together"
            raise UsageError(f"{short}. Raise a ceiling or `repeats`, or lower the budget.")
        if np.isfinite(self.kl):
            least = self._boxed(self.natural)
            if (found := float(divergence(least, self.natural))) > self.kl + _SLACK:
                raise UsageError(
                    f"No mixture within the floors and ceilings is as near to natural shares as limits.kl asks: the "
                    f"nearest has {found:.3f} nats, {self.kl:g} are allowed. Raise limits.kl or loosen the shares."
                )

    def allows(self, shares: Floats) -> npt.NDArray[np.bool_]:
        """Whether each mixture, (..., n), keeps to the limits."""
        inside = ((shares >= self.low - _SLACK) & (shares <= self.high + _SLACK)).all(-1)
        return np.asarray(inside & (divergence(shares, self.natural) <= self.kl + 1e-7))

    def nearest(self, shares: Floats) -> Floats:
        """The allowed mixture with the least KL(allowed || shares): of one (n,), or of each of several (k, n).

        A minimiser under a bound on KL to natural shares lies between the two geometrically, and one between bounds is
        the shares times a constant, cut at the bounds: both constants are found by bisection.
        """
        rows = np.atleast_2d(np.asarray(shares, float))
        rows = rows / np.maximum(rows.sum(1, keepdims=True), 1e-300)
        found = np.where(self.allows(rows)[:, None], rows, self._boxed(rows))
        far = divergence(found, self.natural) > self.kl + 1e-7
        if far.any():
            some = rows[far]
            low, high = np.zeros(len(some)), np.ones(len(some))
            for _ in range(50):
                middle = (low + high) / 2
                mixed = self._boxed(_between(some, self.natural, middle))
                near = divergence(mixed, self.natural) <= self.kl
                low, high = np.where(near, low, middle), np.where(near, middle, high)
            found[far] = self._boxed(_between(some, self.natural, high))
        return np.asarray(found[0] if np.ndim(shares) == 1 else found)

    def _boxed(self, shares: Floats) -> Floats:
        """Shares times a constant, cut at the bounds so that they sum to 1; (n,) or (k, n)."""
        rows = np.maximum(np.atleast_2d(shares), np.where(self.high > 0, 1e-12, 0.0))  # none stays at 0 if it must not
        least, most = np.full(len(rows), -60.0), np.full(len(rows), 60.0)
        for _ in range(70):
            middle = (least + most) / 2
            total = np.clip(rows * np.exp(middle)[:, None], self.low, self.high).sum(1)
            least, most = np.where(total < 1, middle, least), np.where(total < 1, most, middle)
        cut = np.clip(rows * np.exp(most)[:, None], self.low, self.high)
        cut /= np.maximum(cut.sum(1, keepdims=True), 1e-300)
        return np.asarray(cut[0] if np.ndim(shares) == 1 else cut)


def divergence(shares: Floats, natural: Floats) -> Floats:
    """KL(shares || natural) in nats along the last axis; infinite where something is read that there is none of."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(shares > 0, shares * np.log(shares / natural), 0.0)
    return np.asarray(ratio.sum(-1))


def _between(shares: Floats, natural: Floats, part: Floats) -> Floats:
    """The geometric mean of mixtures (k, n) and natural shares, `part` (k,) of the latter."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(shares, 1e-300)) * (1 - part[:, None]) + np.log(natural) * part[:, None]
    mixed = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(mixed / mixed.sum(1, keepdims=True))
