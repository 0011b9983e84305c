"""Pictures of a pool's signals: data maps, curves over passes, correlations. The report and ``tilth plot`` share them.

A picture of a large pool is drawn from a random sample that depends on the records' ids alone, so it is the same
whenever and wherever it is drawn, and it says how many records that are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.pool import Pool
from tilth.core.records import FIELDS
from tilth.core.run import Run
from tilth.report import plots
from tilth.report.markup import Markup, shown
from tilth.report.parts import NAME
from tilth.report.plots import Kind

__all__ = ["Picture", "correlations", "curves_of", "data_map", "has_map", "numeric_outputs", "outputs", "spearman"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
POINTS = 2000  # records in a data map: each is an element with a text of its own
RANKED = 20_000  # records that are ranked for correlations
EXCERPT = 120  # characters of a text that are shown when one points at its record
REGIONS = (Kind("easy", "blue"), Kind("ambiguous", "orange", "square"), Kind("hard", "rose", "ring"))
FIFTHS = tuple(Kind(name, f"fifth{k}") for k, name in enumerate(("0–20%", "20–40%", "40–60%", "60–80%", "80–100%")))
UNKNOWN = Kind("unknown", "grey")
OF = {
    "right": ("Records that are right", "share of records that are right"),
    "gold": ("Probability of the own label or tokens", "mean probability of the own label or tokens"),
    "forgotten": ("Forgetting", "share of records right one pass before, and no longer"),
}


@dataclass(frozen=True)
class Picture:
    """A figure, its title, and in plain data what it was drawn from."""

    title: str
    figure: Markup
    told: dict[str, Any] = field(default_factory=dict)


def outputs(pool: Pool) -> dict[str, list[str]]:
    """Signal -> its outputs, in the pool's order."""
    return {
        f.name: [child.name for child in f.type]
        for f in pool.schema
        if pa.types.is_struct(f.type) and f.name not in FIELDS[pool.kind]
    }


def numeric_outputs(pool: Pool) -> list[str]:
    """Every output that is a number, dotted; the numbers of clusters of duplicates are names, and left out."""
    found = []
    for name, own in outputs(pool).items():
        for child in pool.schema.field(name).type:
            number = pa.types.is_integer(child.type) or pa.types.is_floating(child.type)
            if number and not (child.name == "cluster" and "duplicate" in own):
                found.append(f"{name}.{child.name}")
    return found


def has_map(pool: Pool, name: str) -> bool:
    """Whether a signal has what a data map is drawn from."""
    return {"confidence", "variability"} <= {*outputs(pool).get(name, ())}


def sample(pool: Pool, most: int, among: npt.NDArray[np.bool_] | None = None) -> Rows:
    """At most `most` row numbers, ascending, drawn at random by record id."""
    draws = [np.zeros(0)]
    for batch in pool.batches(["id"]):
        draws.append(Run().uniform(batch.column(0), "picture"))
    u = np.concatenate(draws)
    rows: Rows = np.arange(u.size) if among is None else np.flatnonzero(among)
    return rows if rows.size <= most else np.sort(rows[np.argsort(u[rows], kind="stable")[:most]])


def _drawn(count: int, of: int, what: str) -> str:
    return f"{count:,} of {of:,} {what}, drawn at random" if count < of else f"all {of:,} {what}"


# ---- data maps -------------------------------------------------------------------------------


def data_map(pool: Pool, name: str, by: str = "region", hover: bool = True) -> Picture:
    """Confidence over variability of a signal like `cartography`, a point per record (Swayamdipta et al. 2020,
    arXiv 2009.10795).

    Args:
        by: what the colour tells: ``region``, or ``correctness`` in fifths.
        hover: whether pointing at a record shows its id and the beginning of its text.
    """
    own = outputs(pool)[name]
    two = pool.table([f"{name}.confidence", f"{name}.variability"])
    known = pc.and_(pc.is_valid(two.column(0)), pc.is_valid(two.column(1))).to_numpy(zero_copy_only=False)
    rows = sample(pool, POINTS, known)
    facts = [c for c in ("source", "label") if c in pool.schema.names]
    more = [f"{name}.{c}" for c in ("confidence", "variability", "correctness", "region") if c in own]
    taken = pool.take(rows, ["id", *facts, *more, *(["text"] if hover else [])])
    x, y = (_floats(taken.column(f"{name}.{c}")) for c in ("variability", "confidence"))
    which, kinds = _kinds(taken, name, by)
    notes = [_drawn(rows.size, int(known.sum()), "mapped records")]
    if by == "correctness":
        notes.append("colour: share of passes that were right")
    title = f"Data map of {shown(name, NAME)}"
    hovers = _hovers(taken, name, facts) if hover else []
    figure = plots.scatter(
        title, x, y, which, kinds, hovers, "variability: standard deviation over passes",
        "confidence: mean probability of the own label or tokens", notes,
    )  # fmt: skip
    return Picture(title, figure, {"drawn": int(rows.size), "of": int(known.sum()), "colour": by})


def _kinds(taken: pa.Table, name: str, by: str) -> tuple[Rows, list[Kind]]:
    """The kind of each point, and the kinds there are."""
    column = f"{name}.{by}"
    if by == "correctness" and column in taken.column_names:
        share = _floats(taken.column(column))
        fifth = np.clip(np.ceil(np.nan_to_num(share) * 5 - 1e-6) - 1, 0, 4).astype(np.int64)
        return _used(np.where(np.isfinite(share), fifth, 5), [*FIFTHS, UNKNOWN])
    names = [kind.name for kind in REGIONS]
    found = taken.column(column).to_pylist() if column in taken.column_names else [None] * len(taken)
    which = np.array([names.index(v) if v in names else 3 for v in found], np.int64)
    return _used(which, [*REGIONS, UNKNOWN])


def _used(which: Rows, kinds: list[Kind]) -> tuple[Rows, list[Kind]]:
    """Without the last kind, that of records of which nothing is known, when no record is of it."""
    return which, kinds if (which == len(kinds) - 1).any() else kinds[:-1]


def _hovers(taken: pa.Table, name: str, facts: list[str]) -> list[str]:
    texts = pc.utf8_slice_codeunits(taken.column("text"), 0, EXCERPT + 1).to_pylist()
    numbers = [c for c in taken.column_names if c.startswith(f"{name}.")]
    lines = []
    for row, text in zip(taken.select(["id", *facts, *numbers]).to_pylist(), texts, strict=True):
        who = " · ".join(shown(row[f], NAME) for f in facts if row[f] is not None)
        measured = ", ".join(f"{c.partition('.')[2]} {_short(row[c])}" for c in numbers)
        lines.append("\n".join([shown(row["id"], NAME), who, measured, shown(text or "(no text)", EXCERPT)]))
    return lines


def _short(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else shown("unknown" if value is None else value, NAME)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


# ---- curves over passes ----------------------------------------------------------------------


def curves_of(name: str, state: Any) -> list[Picture]:
    """What a signal kept of its training pass by pass, from its state; empty for a signal that watches none."""
    kept: Mapping[str, Mapping[str, Floats]] = getattr(state, "curves", {})
    found = []
    for what, series in kept.items():
        if not any(np.isfinite(values).any() for values in series.values()):
            continue  # nothing can be forgotten in a single pass
        title, upward = OF[what]
        title = f"{title}: {shown(name, NAME)}"
        seeds, passes = next(iter(series.values())).shape
        note = f"mean and range of {seeds} trainings" if seeds > 1 else "one training"
        kinds = [Kind("all", "ink"), *REGIONS]
        figure = plots.curves(title, series, kinds, "pass", upward, note)
        told = {group: values.mean(0).tolist() for group, values in series.items()}
        found.append(Picture(title, figure, {"passes": passes, "trainings": seeds, what: told}))
    return found


# ---- correlations ----------------------------------------------------------------------------


def correlations(pool: Pool, names: list[str]) -> Picture | None:
    """Spearman's rank correlation between each two numeric outputs; None when fewer than two of them vary.

    A record that lacks either number does not count for that pair.
    """
    rows = sample(pool, RANKED)
    taken = pool.take(rows, names)
    columns = {name: _floats(taken.column(name)) for name in names}
    columns = {name: values for name, values in columns.items() if np.unique(values[np.isfinite(values)]).size > 1}
    if len(columns) < 2:
        return None
    rho = spearman(np.stack([*columns.values()], 1))
    notes = [f"Spearman, of {_drawn(rows.size, pool.count, 'records')}"]
    if left := len(names) - len(columns):
        notes.append(f"left out: {left} that {'does' if left == 1 else 'do'} not vary")
    title = "Rank correlation of signals"
    pairs = [{"a": a, "b": b, "spearman": v} for a, b, v in plots.strongest([*columns], rho)]
    told = {"drawn": int(rows.size), "of": pool.count, "constant": [n for n in names if n not in columns]}
    return Picture(title, plots.matrix(title, [*columns], rho, notes), told | {"pairs": pairs})


def spearman(values: Floats) -> Floats:
    """Spearman's rank correlation of each two columns of (records, outputs), over the records that have both.

    Ties share their mean rank; NaN where one of the two does not vary.

    >>> x = np.array([[1.0, 10], [2, 30], [3, 20], [4, np.nan]])
    >>> float(spearman(x)[0, 1])
    0.5
    """
    count = values.shape[1]
    found = np.full((count, count), np.nan)
    known = np.isfinite(values)
    whole = [_centred_ranks(values[known[:, i], i]) for i in range(count)]

    def ranked(column: int, both: npt.NDArray[np.bool_]) -> Floats:
        same = int(both.sum()) == whole[column].size  # the other column lacks nothing that this one has
        return whole[column] if same else _centred_ranks(values[both, column])

    for i in range(count):
        for j in range(i + 1):
            both = known[:, i] & known[:, j]
            a, b = ranked(i, both), ranked(j, both)
            size = float(np.sqrt((a @ a) * (b @ b)))
            if size > 0:
                found[i, j] = found[j, i] = float(a @ b) / size
    return found


def _centred_ranks(values: Floats) -> Floats:
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(values))
    return ranks - ranks.mean() if ranks.size else ranks
