"""Plan: exactly what, how often, when. One row per record of the pool, in or out, with the reason."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tilth.core.errors import EmptyPlan, PoolCorrupt, UsageError
from tilth.core.goal import Budget
from tilth.core.limits import Limits, Room
from tilth.core.method import digest
from tilth.core.pool import Pool
from tilth.core.run import Run

__all__ = [
    "Conditioning",
    "Decision",
    "Groups",
    "Plan",
    "Steering",
    "Weights",
    "groups",
    "take_budget",
    "take_budgets",
]

COLLAPSED = 0.95  # share of one group above which a mixture is hardly one
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decision:
    """What one policy did to a plan.

    Attributes:
        policy: the policy as plain data (`Method.describe`).
        note: one line for people.
        records: records in before and after.
        amount: size in before and after, in the budget's unit, repeats counted.
        threshold: name -> value of every cut the policy made; a name ending in ``:group`` is one group's cut.
        reason: why a record it dropped was dropped.
        details: anything else worth keeping, as plain data (fitted weights, rank correlations, ...).
    """

    policy: Mapping[str, Any]
    note: str
    records: tuple[int, int] = (0, 0)
    amount: tuple[int, int] = (0, 0)
    threshold: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why this decision should not be trusted, kept in `details`."""
        return tuple(self.details.get("warnings", ()))


@dataclass(frozen=True)
class Groups:
    """Records grouped by the values of a column: `index[i]` is the position in `names` of record i's value."""

    by: str
    names: tuple[str, ...]
    index: npt.NDArray[np.int32]

    @classmethod
    def of(cls, by: str, column: pa.Array) -> Self:
        """Groups of an array of strings without nulls; names are sorted, and only those that occur."""
        encoded = column.dictionary_encode()
        names = encoded.dictionary.to_pylist()
        order = sorted(range(len(names)), key=names.__getitem__)
        place = np.empty(len(names), np.int32)
        place[order] = np.arange(len(names), dtype=np.int32)
        index = place[encoded.indices.to_numpy()] if names else np.zeros(0, np.int32)
        return cls(by, tuple(names[i] for i in order), index)

    def column(self) -> pa.Array:
        """The inverse of `of`: each record's name."""
        index, names = pa.array(self.index), pa.array(list(self.names), pa.string())
        return pa.DictionaryArray.from_arrays(index, names).dictionary_decode()

    def sums(self, amounts: npt.ArrayLike) -> Floats:
        """The sum of `amounts` in each group."""
        sums: Floats = np.bincount(self.index, np.asarray(amounts, float), len(self.names)).astype(np.float64)
        return sums

    def within(self, sums: Floats, amounts: npt.ArrayLike) -> Floats:
        """Each record's part of its group's sum, in proportion to `amounts`: the inverse of `sums`."""
        whole = np.maximum(self.sums(amounts), 1e-300)
        return np.asarray((sums / whole)[self.index] * np.asarray(amounts, float))

    def crossed(self, other: Groups) -> tuple[Groups, Ints, Ints]:
        """Groups of the records that share both groups, and of which groups of the two each is."""
        if other is self or (other.by == self.by and other.names == self.names):
            every = np.arange(len(self.names))
            return self, every, every
        pairs, index = np.unique(self.index.astype(np.int64) * len(other.names) + other.index, return_inverse=True)
        mine, theirs = pairs // len(other.names), pairs % len(other.names)
        names = tuple(f"{self.names[m]} / {other.names[t]}" for m, t in zip(mine, theirs, strict=True))
        return Groups(f"{self.by} and {other.by}", names, index.astype(np.int32)), mine, theirs


def groups(pool: Pool, by: str = "source") -> Groups:
    """Group a pool's records by any column; nulls form the group ``(none)``. Names are sorted."""
    pool.require([by], f"grouping by {by!r}")
    column = pc.fill_null(pc.cast(pool.column(by), pa.string()), "(none)")
    return Groups.of(by, pa.array(column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)))


@dataclass(frozen=True)
class Conditioning:
    """What stands before records as a condition: it is read with the record, and never learned.

    Attributes:
        template: what a value becomes. Its ``{value}`` is replaced; values come from data, so nothing in one is
            interpreted.
        tags: each record's value of a column; "" where nothing stands before the record.
    """

    template: str
    tags: Groups

    @classmethod
    def of(cls, by: str, template: str, values: pa.Array) -> Self:
        """Of an array of strings, one per record; null or empty: nothing stands before the record."""
        return cls(template, Groups.of(by, pc.fill_null(values, "")))

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What stands before the records of each tag."""
        return tuple(self.template.replace("{value}", name) if name else "" for name in self.tags.names)

    @property
    def told(self) -> Bools:
        """Which records something stands before."""
        return np.array([bool(prefix) for prefix in self.prefixes], bool)[self.tags.index]

    def as_dict(self) -> dict[str, Any]:
        """Everything that is not per record, as plain data."""
        return {"by": self.tags.by, "template": self.template}


@dataclass(frozen=True)
class Weights:
    """How much the loss of each record counts while a model is trained: rising to 1, the same for all, at an epoch.

    Attributes:
        first: each record's weight before the first step, in [0, 1].
        end: the epoch from which every weight is exactly 1; an epoch is as many examples as the plan has readings.
    """

    first: Floats
    end: float

    def at(self, epoch: float) -> Floats:
        """first + (epoch / end) (1 - first) before `end`, exactly 1 from there on.

        Args:
            epoch: from 0; a fraction inside an epoch.

        >>> Weights(np.array([1.0, 0.2]), 10).at(5).round(2).tolist()
        [1.0, 0.6]
        """
        if epoch >= self.end:
            return np.ones_like(self.first)
        return np.asarray(self.first + (epoch / self.end) * (1 - self.first))


@dataclass(frozen=True)
class Steering:
    """Shares that move while a model is trained on the plan: by an online policy, or as they did in an earlier run.

    Attributes:
        policy: the online policy as plain data (`Method.describe`).
        groups: what it mixes; each record's group.
        shares: before the first decision, one per group.
        every: steps between two decisions.
        cap: most epochs of a group.
        mirrored: every decision is turned round, as a negative control: what it raises by a factor is lowered by it.
        aims: the group of each item of the goal's target; a policy may ask of each of them apart.
        log: the shares that held from a step on, of a run that is to be repeated; the policy is then not asked.
    """

    policy: Mapping[str, Any]
    groups: Groups
    shares: tuple[float, ...]
    every: int = 25
    cap: float = 4.0
    mirrored: bool = False
    aims: tuple[str, ...] = ()
    log: tuple[tuple[int, Mapping[str, float]], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything that is not per record, as plain data."""
        told = {name: value for name, value in vars(self).items() if name != "groups"}
        return {**told, "policy": dict(self.policy), "by": self.groups.by, "names": list(self.groups.names)}

    @classmethod
    def of(cls, given: Mapping[str, Any], index: npt.NDArray[np.int32]) -> Self:
        """The inverse of `as_dict`."""
        rest = {name: value for name, value in given.items() if name not in ("by", "names")}
        shares, aims, log = (
            tuple(rest.pop("shares")),
            tuple(rest.pop("aims")),
            tuple((s, m) for s, m in rest.pop("log")),
        )
        return cls(groups=Groups(given["by"], tuple(given["names"]), index), shares=shares, aims=aims, log=log, **rest)


@dataclass(frozen=True)
class Plan:
    """What a model is trained on.

    Attributes:
        ids: record ids, in the pool's order; all arrays below are aligned with it.
        sizes: each record's size in the budget's unit (tokens, or 1).
        sources: the record's source.
        repeats: how often the record is read; 0 = not in the plan.
        phase: when: all of phase 0 is read before phase 1.
        rank: order inside the phase, ascending; NaN = anywhere (a seeded shuffle).
        dropped_by: index of the decision that took the record out, -1 while it is in.
        budget: what the model may read.
        pool: fingerprint of the pool.
        decisions: what was done, in order.
        values: per-record numbers a decision cut on, named ``<index>.<name>``; NaN where it does not apply.
        requested: group -> requested share, when a policy asked for a mixture; `by` names the column.
        limits: what `mixed` keeps to, whatever shares it is given.
        steering: who moves the shares of what is kept while a model is trained on it, if anybody; then `repeats` only
            says what there is to read, and how often against others of its group.
        conditioning: what stands before records, if anything.
        weights: how much the loss of each record counts, where that differs.
    """

    ids: pa.Array
    sizes: Ints
    sources: Groups
    repeats: npt.NDArray[np.int32]
    phase: npt.NDArray[np.int16]
    rank: Floats
    dropped_by: npt.NDArray[np.int16]
    budget: Budget
    pool: str
    decisions: tuple[Decision, ...] = ()
    values: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    requested: Mapping[str, float] = field(default_factory=dict)
    by: str = "source"
    limits: Limits = field(default_factory=Limits)
    steering: Steering | None = None
    conditioning: Conditioning | None = None
    weights: Weights | None = None

    @classmethod
    def everything(cls, pool: Pool, budget: Budget, limits: Limits | None = None) -> Self:
        """Every record once. Token budgets need the column ``tokens.count``."""
        ids = pool.column("id").combine_chunks()
        n = len(ids)
        if budget.unit == "tokens":
            pool.require(["tokens.count"], "A plan with a token budget")
            sizes = pc.fill_null(pool.column("tokens.count"), 0).to_numpy().astype(np.int64)
        else:
            sizes = np.ones(n, np.int64)
        return cls(
            ids=ids,
            sizes=sizes,
            sources=groups(pool, "source"),
            repeats=np.ones(n, np.int32),
            phase=np.zeros(n, np.int16),
            rank=np.full(n, np.nan),
            dropped_by=np.full(n, -1, np.int16),
            budget=budget,
            pool=pool.fingerprint,
            limits=limits or Limits(),
        )

    # ---- reading -----------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def kept(self) -> Bools:
        """Which records are in."""
        return self.repeats > 0

    @property
    def amount(self) -> int:
        """Size of what is read in the budget's unit, repeats counted; if steered, the budget or all there is."""
        if self.steering is not None:
            return int(min(self.budget.amount, (self.sizes * self.kept).sum() * self.steering.cap))
        return int((self.sizes * self.repeats).sum())

    def mixture(self, by: Groups | None = None) -> dict[str, float]:
        """Realised share of each source (or other group), repeats counted; groups with nothing are listed as 0."""
        by = by or self.sources
        sums = by.sums(self.sizes * self.repeats)
        return dict(zip(by.names, (sums / max(sums.sum(), 1)).tolist(), strict=True))

    @property
    def moving(self) -> dict[str, float]:
        """The groups that an online policy mixes, those that hold something, and their shares before it decides.

        They are those of `steering`; of a plan without it the sources, which are alike.
        """
        by = self.sources if self.steering is None else self.steering.groups
        first = (1.0,) * len(by.names) if self.steering is None else self.steering.shares
        there = by.sums(self.sizes * self.kept) > 0
        shares = {name: share for name, share, some in zip(by.names, first, there, strict=True) if some}
        total = sum(shares.values())
        return {name: share / total if total > 0 else 1 / len(shares) for name, share in shares.items()}

    def epochs(self, by: Groups | None = None) -> dict[str, float]:
        """How often each source's kept tokens are read on average; 0 where nothing is kept."""
        by = by or self.sources
        kept = by.sums(self.sizes * self.kept)
        read = by.sums(self.sizes * self.repeats)
        return dict(zip(by.names, (read / np.maximum(kept, 1)).tolist(), strict=True))

    @property
    def fingerprint(self) -> str:
        """A function of what is read, how often, when, after what, and how much it counts."""
        import hashlib

        h = hashlib.sha256()
        for array in (self.repeats, self.phase, np.nan_to_num(self.rank, nan=-1.0)):
            h.update(np.ascontiguousarray(array).tobytes())
        parts: list[Any] = [self.pool, str(self.budget), h.hexdigest()]
        if self.steering is not None:
            index = np.ascontiguousarray(self.steering.groups.index)
            parts += [self.steering.as_dict(), hashlib.sha256(index.tobytes()).hexdigest()]
        if self.conditioning is not None:
            tags = self.conditioning.tags
            index = np.ascontiguousarray(tags.index)
            parts += [self.conditioning.as_dict(), tags.names, hashlib.sha256(index.tobytes()).hexdigest()]
        if self.weights is not None:
            first = np.ascontiguousarray(self.weights.first)
            parts += [{"end": self.weights.end}, hashlib.sha256(first.tobytes()).hexdigest()]
        return digest(parts)

    def reading_order(self, run: Run) -> tuple[Ints, npt.NDArray[np.int32]]:
        """Row numbers in the order a model reads them, and which copy of the record each one is.

        Phases in order. Inside a phase each source's records are shuffled by seed and id, all copies of a repeated
        record in as many equal stretches, and the sources are read side by side: after any number of records each has
        had its share to within a record. Ranked records keep the order of their ranks, one more such sequence; those of
        one rank are shuffled, and copies of a record with a rank of its own are read one after the other.

        Raises:
            UsageError: when an online policy moves the shares: what is read then depends on the training.
        """
        from tilth.kernels.interleave import interleave  # numba, which a command line should not wait for

        if self.steering is not None:
            raise UsageError(
                f"The online policy {self.steering.policy.get('use')} moves this plan's shares while a model is "
                f"trained, so there is no order to write out. Prove the plan step by step, or leave the policy out."
            )
        rows = np.flatnonzero(self.kept)
        times = self.repeats[rows]
        u = run.uniform(self.ids.take(pa.array(rows)), "order")
        read = np.repeat(np.arange(rows.size), times)
        copy = np.arange(read.size) - np.repeat(np.cumsum(times) - times, times)
        rank, phase = self.rank[rows][read], self.phase[rows][read].astype(np.int64)
        ranked = ~np.isnan(rank)
        spread = (u[read] + copy) / times[read]
        position = np.where(ranked, rank, spread)
        queue = np.where(ranked, len(self.sources.names), self.sources.index[rows][read])
        order = np.lexsort((copy, u[read], spread, position, queue, phase))
        sizes = np.maximum(self.sizes[rows][read][order], 1)
        queue = (phase * (len(self.sources.names) + 1) + queue)[order]
        merged = []
        for start, end in itertools.pairwise(np.append(_begins(phase[order]), order.size)):
            bounds = np.append(_begins(queue[start:end]), end - start)
            merged.append(start + interleave(sizes[start:end], bounds))
        order = order[np.concatenate(merged)] if merged else order
        return rows[read[order]], copy[order].astype(np.int32)

    # ---- revising ----------------------------------------------------------------------------

    def revised(
        self,
        policy: Mapping[str, Any],
        note: str,
        *,
        repeats: npt.ArrayLike | None = None,
        keep: npt.ArrayLike | None = None,
        phase: npt.ArrayLike | None = None,
        rank: npt.ArrayLike | None = None,
        requested: Mapping[str, float] | None = None,
        by: str = "source",
        threshold: Mapping[str, float] | None = None,
        values: Mapping[str, npt.ArrayLike] | None = None,
        reason: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> Self:
        """The plan after one more decision: new repeats, or the mask of records to keep, or a new order.

        Raises:
            EmptyPlan: if nothing is left.
        """
        new = np.asarray(self.repeats if repeats is None else repeats, np.int32).copy()
        if keep is not None:
            new[~np.asarray(keep, bool)] = 0
        if not (new > 0).any():
            raise EmptyPlan(
                f"{policy.get('use', 'a policy')} drops all {int(self.kept.sum()):,} records that were in "
                f"({note}). Loosen its condition; `tilth show {policy.get('use', '')}` lists its fields."
            )
        number = len(self.decisions)
        dropped = self.dropped_by.copy()
        dropped[self.kept & (new == 0)] = number
        dropped[new > 0] = -1
        decision = Decision(
            policy=policy,
            note=note,
            records=(int(self.kept.sum()), int((new > 0).sum())),
            amount=(self.amount, int((self.sizes * new).sum())),
            threshold=dict(threshold or {}),
            reason=reason or note,
            details=dict(details or {}),
        )
        cuts = {f"{number}.{name}": np.asarray(v, np.float32) for name, v in (values or {}).items()}
        return replace(
            self,
            repeats=new,
            phase=self.phase if phase is None else np.asarray(phase, np.int16),
            rank=self.rank if rank is None else np.asarray(rank, np.float64),
            dropped_by=dropped,
            decisions=(*self.decisions, decision),
            values={**self.values, **cuts},
            requested=self.requested if requested is None else dict(requested),
            by=self.by if requested is None else by,
            steering=self.steering if requested is None else None,  # shares that were decided move no more
        )

    def room(self, cap: float = 4.0, by: Groups | None = None) -> Room:
        """The mixtures of these groups (sources by default) that limits, and a cap on epochs, allow.

        Where everything there is, read as often as allowed, fits the budget, the cap bounds nothing: `mixed` fills up.

        Raises:
            EmptyPlan: when nothing is kept.
            UsageError: when the limits cannot be kept, or name a source that the pool has not.
        """
        by = by or self.sources
        size = by.sums(self.sizes * self.kept)
        if size.sum() <= 0:
            raise EmptyPlan("A mixture was asked of a plan without a single token. Loosen what comes before it.")
        most = np.minimum(1.0, min(cap, self.limits.repeats or cap) * size / self.budget.amount)
        if most.sum() <= 1.0:
            most = np.where(size > 0, 1.0, 0.0)
        limits = self.limits if by.by == self.sources.by else Limits()
        return limits.room(by.names, size / size.sum(), most)

    def mixed(
        self,
        policy: Mapping[str, Any],
        note: str,
        shares: Mapping[str, float],
        by: Groups,
        keys: Floats,
        cap: float = 4.0,
        details: Mapping[str, Any] | None = None,
        values: Mapping[str, npt.ArrayLike] | None = None,
    ) -> Self:
        """Fill the budget so that each group has the given share of it.

        A group larger than its allotment is sampled by descending `keys`; a smaller one is repeated, at most
        `cap` times on average; what a capped group cannot use goes to the others in proportion to their shares.
        Records are whole, so a group gets its share to the nearest record; where all groups together would miss the
        budget by more than a record, those nearest to the other side give or take one. Shares outside the plan's limits
        are moved to the nearest mixture inside them, and the note says so. Limits are on sources: of groups that are
        not, each source's part of each group is scaled.

        Args:
            shares: group name -> share (normalised here); groups left out get nothing.
            keys: one number per record; the largest are taken first.
            cap: most epochs of a group; must be at least 1.
            values: further numbers per record to keep with the decision; `keys` are kept anyway.
        """
        weights = np.array([max(0.0, float(shares.get(name, 0.0))) for name in by.names])
        if weights.sum() <= 0:
            raise EmptyPlan(f"{policy.get('use', 'a policy')} gives no group any weight ({note}).")
        weights /= weights.sum()
        told, wanted = by, weights
        if self.limits.bind:
            by, allot = self._limited(weights, by, min(cap, self.limits.repeats or cap))
            wanted = told.sums(by.within(allot / max(allot.sum(), 1e-300), self.sizes * self.kept))
            if np.abs(wanted - weights).sum() > 1e-6:
                note += "; moved to the nearest mixture within the goal's limits"
                details = {**(details or {}), "asked": dict(zip(told.names, weights.tolist(), strict=True))}
        else:
            allot = _water_fill(weights, by.sums(self.sizes * self.kept) * cap, float(self.budget.amount))
        if wanted.max() > COLLAPSED and (told.sums(self.sizes * self.kept) > 0).sum() > 1:
            warning = (
                f"{told.names[int(wanted.argmax())]!r} gets {wanted.max():.0%}: the mixture collapsed to one {told.by}"
            )
            details = {**(details or {}), "warnings": [*(details or {}).get("warnings", ()), warning]}
        repeats, threshold = self._drawn(allot, by, keys)
        return self.revised(
            policy,
            note,
            repeats=repeats,
            requested=dict(zip(told.names, wanted.tolist(), strict=True)),
            by=told.by,
            threshold=threshold,
            values={**(values or {}), "key": keys},
            reason=f"not drawn when the {told.by} shares were filled",
            details=details,
        )

    def _drawn(self, allot: Floats, by: Groups, keys: Floats) -> tuple[npt.NDArray[np.int32], dict[str, float]]:
        """Repeats that give each group its allotment, records with the largest keys first; and the last key of each."""
        order = np.lexsort((np.arange(len(self)), -keys, by.index))
        order = order[self.kept[order]]
        bounds = np.searchsorted(by.index[order], np.arange(len(by.names) + 1))
        repeats = np.zeros(len(self), np.int32)
        total = np.maximum(by.sums(self.sizes * self.kept), 1)
        whole, rest = np.divmod(np.maximum(allot, 0), total)
        repeats[order] = whole[by.index[order]]
        taken = take_budgets(self.sizes[order], bounds, rest, keys[order])
        threshold = {}
        for g in np.flatnonzero(taken).tolist():
            rows = order[bounds[g] : bounds[g + 1]]
            repeats[rows[: taken[g]]] += 1
            if taken[g] < rows.size:
                threshold[f"key:{by.names[g]}"] = float(keys[rows[taken[g] - 1]])
        return repeats, threshold

    def _limited(self, weights: Floats, by: Groups, cap: float) -> tuple[Groups, Floats]:
        """What is read of each source's part of each group, so that the sources keep to the limits.

        Where a source has too little for its share, less is read in all: shares hold before the budget does.
        """
        cells, of_group, of_source = by.crossed(self.sources)
        size = cells.sums(self.sizes * self.kept)
        of_whole = size / np.maximum(by.sums(self.sizes * self.kept)[of_group], 1e-300)
        wanted = weights[of_group] * of_whole
        has = np.bincount(of_source, wanted, len(self.sources.names)).astype(np.float64)
        shares = self.room(cap).nearest(has)
        wanted += 1e-9 * of_whole  # of what nobody wants, for a source that must be read
        sources = np.bincount(of_source, size, len(self.sources.names)) * cap
        amount = min(float(self.budget.amount), float((sources[shares > 0] / shares[shares > 0]).min()))
        allot = np.zeros(size.size)
        for source, share in enumerate(shares):
            mine = of_source == source
            allot[mine] = _water_fill(wanted[mine], size[mine] * cap, share * amount)
        return cells, allot

    def warned(self, warning: str) -> Self:
        """The same plan with a warning at its last decision."""
        last = self.decisions[-1]
        told = replace(last, details={**last.details, "warnings": [*last.warnings, warning]})
        return replace(self, decisions=(*self.decisions[:-1], told))

    def asking(self, requested: Mapping[str, float], by: str = "source") -> Self:
        """The same plan with another record of which shares were asked for; empty when none were."""
        return replace(self, requested=dict(requested), by=by)

    def steered(self, steering: Steering) -> Self:
        """The same plan, its shares moved while a model is trained."""
        return replace(self, steering=steering)

    def conditioned(self, conditioning: Conditioning | None) -> Self:
        """The same plan with something before its records, or with nothing."""
        return replace(self, conditioning=conditioning)

    def weighted(self, weights: Weights | None) -> Self:
        """The same plan, the losses of its records counted by weights, or all alike."""
        return replace(self, weights=weights)

    def require_plain(self, who: str, *, prefixes: bool = False, weights: bool = False) -> None:
        """Raise UsageError where the plan has something that `who` would pass over.

        Args:
            prefixes: `who` reads what stands before records.
            weights: `who` counts losses by weights.
        """
        if self.weights is not None and not weights:
            raise UsageError(
                f"{who} counts all records alike, and this plan weights their losses until epoch {self.weights.end:g}. "
                f"Prove it by classify with a transformer, train by the `weigh` of tilth.models.train.rising, or leave "
                f"rank_curriculum out."
            )
        if self.conditioning is not None and not prefixes:
            raise UsageError(
                f"{who} reads no prefixes, and this plan puts {self.conditioning.tags.by} before "
                f"{int((self.kept & self.conditioning.told).sum()):,} records. Read it as `tilth.Stream` or prove it "
                f"by tiny_lm, or leave metadata_prefix out."
            )

    def replaying(self, log: Iterable[tuple[int, Mapping[str, float]]]) -> Self:
        """A steered plan whose shares move as they did in an earlier run, whatever its policy would say now.

        Args:
            log: `Curve.shares` of that run, or ``shares`` of the file that a proof wrote.
        """
        if self.steering is None:
            raise UsageError("Only a plan that an online policy steers has shares that move. Use `steered` first.")
        return replace(self, steering=replace(self.steering, log=tuple((int(step), dict(held)) for step, held in log)))

    def part(self, index: int, parts: int, run: Run) -> Self:
        """One of `parts` disjoint pieces of the plan (whole records with all their repeats), split by record id.

        The same record falls into the same piece of every plan with the same run, so pieces of two plans pair.
        """
        mine = (run.uniform(self.ids, "part") * parts).astype(np.int64) == index
        amount = max(1, self.budget.amount // parts)
        return replace(
            self,
            repeats=np.where(mine, self.repeats, 0).astype(np.int32),
            budget=Budget(amount, self.budget.unit),
        )

    # ---- on disk -----------------------------------------------------------------------------

    def table(self) -> pa.Table:
        """One row per record of the pool: id, source, size, repeats, phase, rank, dropped_by and the cut values.

        Of a steered plan also its group's number, of a conditioned one its tag, of a weighted one its first weight.
        """
        columns: dict[str, Any] = {
            "id": self.ids,
            "source": self.sources.column(),
            "size": pa.array(self.sizes),
            "repeats": pa.array(self.repeats),
            "phase": pa.array(self.phase),
            "rank": pa.array(self.rank, from_pandas=True),
            "dropped_by": pa.array(self.dropped_by),
        }
        if self.steering is not None:
            columns["group"] = pa.array(self.steering.groups.index)
        if self.conditioning is not None:
            columns["tag"] = self.conditioning.tags.column()
        if self.weights is not None:
            columns["weight"] = pa.array(self.weights.first)
        for name, value in self.values.items():
            columns[name] = pa.array(value, from_pandas=True)
        return pa.table(columns)

    def header(self) -> dict[str, Any]:
        """Everything about the plan that is not per record, as plain data."""
        return {
            "fingerprint": self.fingerprint,
            "pool": self.pool,
            "budget": str(self.budget),
            "limits": self.limits.as_dict(),
            "records": int(self.kept.sum()),
            "amount": self.amount,
            "by": self.by,
            "requested": dict(self.requested),
            "realised": self.mixture(),
            "epochs": self.epochs(),
            "decisions": [vars(d) | {"policy": dict(d.policy)} for d in self.decisions],
            **({"steering": self.steering.as_dict()} if self.steering is not None else {}),
            **({"conditioning": self.conditioning.as_dict()} if self.conditioning is not None else {}),
            **({"weights": {"end": self.weights.end}} if self.weights is not None else {}),
        }

    def save(self, folder: Path) -> None:
        """Write ``plan.parquet`` and, last, ``plan.json``; a folder without the latter is not a plan."""
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.table(), folder / "plan.parquet.tmp", compression="zstd")
        os.replace(folder / "plan.parquet.tmp", folder / "plan.parquet")
        (folder / "plan.json.tmp").write_text(json.dumps(self.header(), indent=1, default=str))
        os.replace(folder / "plan.json.tmp", folder / "plan.json")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a plan written by `save`.

        Raises:
            PoolCorrupt: if the folder holds no complete plan.
        """
        try:
            header = json.loads((folder / "plan.json").read_text())
            table = pq.read_table(folder / "plan.parquet")
        except (OSError, ValueError, pa.ArrowException) as error:
            raise PoolCorrupt(f"{folder} holds no complete plan ({error}). Run `tilth plan` again.") from None
        decisions = tuple(
            Decision(**{**d, "records": tuple(d["records"]), "amount": tuple(d["amount"])}) for d in header["decisions"]
        )
        fixed = {"id", "source", "size", "repeats", "phase", "rank", "dropped_by", "group", "tag", "weight"}
        steered, told, weights = (header.get(name) for name in ("steering", "conditioning", "weights"))
        return cls(
            ids=table["id"].combine_chunks(),
            sizes=table["size"].to_numpy(),
            sources=Groups.of("source", table["source"].combine_chunks()),
            repeats=table["repeats"].to_numpy(),
            phase=table["phase"].to_numpy(),
            rank=table["rank"].to_numpy(zero_copy_only=False).astype(np.float64),
            dropped_by=table["dropped_by"].to_numpy(),
            budget=Budget.parse(header["budget"].replace(",", "")),
            pool=header["pool"],
            decisions=decisions,
            values={c: table[c].to_numpy() for c in table.column_names if c not in fixed},
            requested=header["requested"],
            by=header["by"],
            limits=Limits.of(header["limits"]),
            steering=Steering.of(steered, table["group"].to_numpy()) if steered is not None else None,
            conditioning=Conditioning.of(values=table["tag"].combine_chunks(), **told) if told is not None else None,
            weights=Weights(table["weight"].to_numpy(), weights["end"]) if weights is not None else None,
        )


def take_budget(sizes: npt.ArrayLike, budget: float) -> int:
    """How many of the first records fit a budget; the one that crosses it is taken when that lands nearer."""
    total = np.cumsum(np.asarray(sizes, np.int64))
    if budget <= 0 or total.size == 0:
        return 0
    fits = int(np.searchsorted(total, budget, side="right"))
    if fits < total.size:
        under = budget - (total[fits - 1] if fits else 0)
        if total[fits] - budget < under:
            return fits + 1
    return fits


def take_budgets(sizes: npt.ArrayLike, bounds: Ints, budgets: npt.ArrayLike, keys: Floats) -> Ints:
    """How many of the first records of each of several groups fit its budget, to the nearest record.

    Where that makes the sum of all wrong by more than a record, some groups are rounded the other way: those whose own
    sum suffers least go first (the method of largest remainders), then those with the better key.

    Args:
        sizes: of the records, group after group.
        bounds: (groups + 1,) where each group begins and the last ends.
        keys: aligned with `sizes`; of two records at the edge the one with the larger key rather goes in.

    >>> take_budgets([10] * 6, np.array([0, 2, 4, 6]), [6, 6, 6], np.array([0.5, 0.1, 0.9, 0.2, 0.4, 0.3])).tolist()
    [1, 1, 0]
    """
    sizes, budgets = np.asarray(sizes, np.int64), np.asarray(budgets, float)
    parts = [sizes[start:end] for start, end in itertools.pairwise(bounds)]
    taken = np.array([take_budget(part, budget) for part, budget in zip(parts, budgets, strict=True)], np.int64)
    over = np.append(0, np.cumsum(sizes))[bounds[:-1] + taken] - np.append(0, np.cumsum(sizes))[bounds[:-1]] - budgets
    over[np.diff(bounds) == taken] = np.maximum(over[np.diff(bounds) == taken], 0)  # there is no more of these
    missed = float(over.sum())
    step = -1 if missed > 0 else 1
    some = np.flatnonzero(over * step < 0)
    edge = bounds[some] + taken[some] - (step < 0)
    change = sizes[edge] * step
    if not some.size or abs(missed) <= np.abs(change).max():
        return taken
    for i in np.lexsort((-keys[edge] * step, np.abs(change) - 2 * np.abs(over[some]))):
        if abs(missed + change[i]) < abs(missed):
            missed += change[i]
            taken[some[i]] += step
    return taken


def _water_fill(weights: Floats, room: Floats, amount: float) -> Floats:
    """Split `amount` by weights, never above `room`; the excess goes to groups with room left."""
    allot = np.zeros_like(weights)
    open_ = (weights > 0) & (room > 0)
    left = amount
    while left > 0.5 and open_.any():
        want = left * weights * open_ / weights[open_].sum()
        full = open_ & (allot + want >= room)
        step = np.where(full, room - allot, want if not full.any() else 0.0)
        allot += step
        left -= float(step.sum())
        open_ &= ~full
        if not full.any():
            break
    return allot


def _begins(values: Ints) -> Ints:
    """Where a new value begins in an array of which equal values lie together."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1])) if values.size else np.zeros(0, np.int64)
