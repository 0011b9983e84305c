"""What was measured: distributions of signals, clusters of duplicates, contamination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.plan import Groups, groups
from tilth.core.pool import Pool
from tilth.report import charts, pictures
from tilth.report.charts import number
from tilth.report.markup import Markup, el, shown
from tilth.report.parts import NAME, fold, note, record, section, table, take, warning
from tilth.report.pictures import Picture

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["clusters", "contamination", "distribution", "signals"]

SAMPLE = 200_000  # records a histogram is drawn from
SOURCES = 12  # sources with a histogram of their own
VALUES = 8  # values of a text output that are listed
TRACKED = 10_000  # different values of a text output that are counted
LARGEST, MEMBERS, EXCERPT = 5, 5, 200
HITS = 20
PAIRS = 10  # of outputs that go together, listed


# ---- signals ---------------------------------------------------------------------------------


def signals(build: Build) -> Markup:
    """The distribution of every output of every signal, by source."""
    pool = build.pool
    names = [n for n in build.signals if n in pool.schema.names]
    if not names:
        return section("signals", "Signals", note("No signal was asked for."))
    sources = groups(pool, "source")
    every = max(1, -(-pool.count // SAMPLE))
    of = f"every {every}th record" if every > 1 else "all records"
    return section(
        "signals", "Signals",
        note(f"What was measured, nothing decided yet. Histograms are drawn from {of}; each is as high as its own "
             "fullest bin, and the outer 0.5 % on each side are folded into the end bins. Smallest, largest and "
             "missing are of all records."),
        [[_signal(pool, name, sources, every), _pictured(build, name)] for name in names],
        _correlated(pool, names),
    )  # fmt: skip


def _pictured(build: Build, name: str) -> Markup | None:
    """The data map and the curves of a signal that has them."""
    pool = build.pool
    if not pictures.has_map(pool, name) or not pool.count:
        return None
    mapped = pictures.data_map(pool, name)
    more = None
    if "correctness" in pictures.outputs(pool)[name]:
        again = pictures.data_map(pool, name, "correctness", hover=False)
        more = fold("The map, coloured by correctness", again.figure)
    curves = [[el("h4", p.title), p.figure] for p in pictures.curves_of(name, build.state_of(name))]
    return el("div", el("h4", mapped.title), mapped.figure, more, curves)


def _correlated(pool: Pool, names: list[str]) -> list[object]:
    """How the signals of this build go together."""
    columns = [c for c in pictures.numeric_outputs(pool) if c.partition(".")[0] in names]
    found = pictures.correlations(pool, columns) if len(columns) > 1 else None
    if found is None:
        return []
    pairs = [p for p in found.told["pairs"] if p["a"].partition(".")[0] != p["b"].partition(".")[0]]
    rows = [[shown(p["a"], NAME), shown(p["b"], NAME), f"{p['spearman']:.3f}"] for p in pairs[:PAIRS]]
    return [
        el("h3", found.title),
        found.figure,
        table(["output", "goes with", "Spearman"], rows, "The strongest between different signals") if rows else None,
    ]


@dataclass
class _Output:
    """One output of a signal while its column streams by."""

    name: str
    kind: pa.DataType
    low: float = np.inf
    high: float = -np.inf
    missing: int = 0
    sampled: list[npt.NDArray[np.float64]] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    @property
    def is_text(self) -> bool:
        return bool(pa.types.is_string(self.kind) or pa.types.is_large_string(self.kind))

    def add(self, column: pa.Array, rows: npt.NDArray[np.int64]) -> None:
        self.missing += column.null_count
        if self.is_text:
            for item in pc.utf8_slice_codeunits(column.drop_null(), 0, NAME).value_counts().to_pylist():
                value = item["values"]
                self.counted[value if value in self.counted or len(self.counted) < TRACKED else "(others)"] += item[
                    "counts"
                ]
            return
        if pa.types.is_list(self.kind) or pa.types.is_large_list(self.kind):
            column = pc.list_value_length(column)
        values = pc.cast(column, pa.float64(), safe=False)
        finite = values.filter(pc.fill_null(pc.is_finite(values), False))
        if len(finite):
            ends = pc.min_max(finite).as_py()
            self.low, self.high = min(self.low, ends["min"]), max(self.high, ends["max"])
        self.sampled.append(values.take(pa.array(rows)).to_numpy(zero_copy_only=False))

    @property
    def touches_nothing(self) -> bool:
        """Whether every record has the same value."""
        if self.is_text:
            return len(self.counted) + bool(self.missing) <= 1
        return self.low >= self.high

    @property
    def values(self) -> npt.NDArray[np.float64]:
        return np.concatenate([*self.sampled, np.zeros(0)])


def _signal(pool: Pool, name: str, sources: Groups, every: int) -> Markup:
    kind = pool.schema.field(name).type
    own = {f.name for f in kind}
    # The numbers of clusters are names, not amounts; they have a section of their own.
    outputs = [_Output(f.name, f.type) for f in kind
               if _readable(f.type) and not (f.name == "cluster" and "duplicate" in own)]  # fmt: skip
    picked = _stream(pool, name, outputs, every)
    index = sources.index[picked]
    cards = [_card(output, index, sources, pool.count) for output in outputs]
    said = None
    if outputs and pool.count and all(output.touches_nothing for output in outputs):
        said = warning(f"{shown(name, NAME)} touches nothing: each of its outputs is the same for all records.")
    body = el("div", cards, class_="cards") if cards else note("Its outputs are not numbers.")
    return el(
        "div", el("h3", shown(name, NAME)), said, fold(_count(len(cards), "output"), body, is_open=len(cards) <= 12)
    )


def _readable(kind: pa.DataType) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string,
             pa.types.is_large_string, pa.types.is_list, pa.types.is_large_list)  # fmt: skip
    return any(test(kind) for test in tests)


def _stream(pool: Pool, name: str, outputs: list[_Output], every: int) -> npt.NDArray[np.int64]:
    """Read a signal's outputs once; returns the row numbers that were sampled."""
    picked, offset = [np.zeros(0, np.int64)], 0
    for batch in pool.batches([f"{name}.{output.name}" for output in outputs]) if outputs else ():
        rows = np.arange(-offset % every, batch.num_rows, every)
        for output, column in zip(outputs, batch.columns, strict=True):
            output.add(column, rows)
        picked.append(rows + offset)
        offset += batch.num_rows
    return np.concatenate(picked)


def distribution(pool: Pool, name: str, output: str, sources: Groups) -> Picture | None:
    """How one output of a signal is distributed, by source, large enough to stand alone; None when it is constant or
    cannot be drawn."""
    kind = pool.schema.field(name).type.field(output).type
    if not _readable(kind) or not pool.count:
        return None
    every = max(1, -(-pool.count // SAMPLE))
    found = _Output(output, kind)
    picked = _stream(pool, name, [found], every)
    figure = None if found.touches_nothing else _chart(found, sources.index[picked], sources, pool.count, name)
    if figure is None:
        return None
    title = f"{shown(name, NAME)}.{output}" + (f", every {every}th record" if every > 1 else "")
    return Picture(title, figure, {"records": int(picked.size), "missing": found.missing})


def _chart(
    output: _Output, index: npt.NDArray[np.int32], sources: Groups, count: int, alone: str = ""
) -> Markup | None:
    """The picture of an output's values; with the signal's name in `alone`, the larger one."""
    if output.is_text:
        return charts.shares(f"Commonest values of {output.name}", {v: n / count for v, n in _common(output)})
    by = dict(_by_source(output.values, index, sources))
    if pa.types.is_boolean(output.kind):
        shares = {name: float(np.nanmean(v)) if np.isfinite(v).any() else float("nan") for name, v in by.items()}
        return charts.shares(f"Share of true in {output.name}", shares)
    if output.touches_nothing:
        return None
    what = "length of " if pa.types.is_nested(output.kind) else ""
    axis = f"{what}{shown(alone, NAME)}.{output.name}" if alone else None
    return charts.histograms(f"Distribution of {output.name}", by, axis)


def _card(output: _Output, index: npt.NDArray[np.int32], sources: Groups, count: int) -> Markup:
    missing = f" · missing {output.missing / count:.1%}" if output.missing else ""
    tag = el("span", "constant", class_="tag") if output.touches_nothing and count else None
    if output.is_text:
        facts = f"{_count(len(output.counted), 'value')}, share of records{missing}"
    elif pa.types.is_boolean(output.kind):
        facts = f"true, by source{missing}"
    else:
        values = output.values
        finite = values[np.isfinite(values)]
        middle = float(np.median(finite)) if finite.size else float("nan")
        low, high = (output.low, output.high) if output.low <= output.high else (float("nan"), float("nan"))
        what = "length of list · " if pa.types.is_nested(output.kind) else ""
        facts = f"{what}min {number(low)} · median {number(middle)} · max {number(high)}{missing}"
    body = _chart(output, index, sources, count)
    return el("div", el("h4", el("code", output.name), tag), el("p", facts, class_="facts"), body, class_="card")


def _count(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _common(output: _Output) -> list[tuple[str, int]]:
    return sorted(output.counted.items(), key=lambda kv: (-kv[1], kv[0]))[:VALUES]


def _by_source(
    values: npt.NDArray[np.float64], index: npt.NDArray[np.int32], sources: Groups
) -> Iterator[tuple[str, npt.NDArray[np.float64]]]:
    """All records, then each of the largest sources, then the other sources together."""
    yield "all", values
    if len(sources.names) < 2:
        return
    sizes = np.bincount(sources.index, minlength=len(sources.names))
    largest = sorted(np.argsort(-sizes, kind="stable")[:SOURCES].tolist())
    for number_ in largest:
        yield sources.names[number_], values[index == number_]
    if len(sources.names) > SOURCES:
        yield "(others)", values[~np.isin(index, largest)]


# ---- duplicates ------------------------------------------------------------------------------


def clusters(build: Build) -> Markup:
    """For each signal that finds duplicates: its clusters, how large they are, and the largest of them."""
    pool = build.pool
    found = []
    for name in build.signals:
        if name not in pool.schema.names:
            continue
        own = {f.name: f.type for f in pool.schema.field(name).type}
        if "duplicate" in own and pa.types.is_integer(own.get("cluster", pa.null())):
            found.append(_clusters_of(pool, name))
    return section("clusters", "Duplicate clusters", found or note("No signal looked for duplicates."))


def _clusters_of(pool: Pool, name: str) -> list[object]:
    rows, ids, extra = _members(pool, name)
    order = np.lexsort((rows, ids))
    rows, ids, extra = rows[order], ids[order], extra[order]
    starts = np.flatnonzero(np.append(True, np.diff(ids) != 0)) if ids.size else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, ids.size))
    real = np.flatnonzero(sizes > 1)
    head: list[object] = [
        el("h3", shown(name, NAME)),
        el("p", f"{real.size:,} clusters of two or more hold {int(sizes[real].sum()):,} records; "
                f"{int(extra.sum()):,} of the pool's {pool.count:,} records are marked as duplicates."),
    ]  # fmt: skip
    if not real.size:
        return head
    edges = [2, 3, 4, 5, 6, 11, 21, 51, 101, 1001, 1 << 62]
    labels = ["2", "3", "4", "5", "6 to 10", "11 to 20", "21 to 50", "51 to 100", "101 to 1,000", "over 1,000"]
    counts = np.histogram(sizes[real], edges)[0]
    last = int(np.flatnonzero(counts)[-1]) + 1
    chart = charts.bars(
        "Clusters by number of records", {f"{labels[i]} records": [float(counts[i])] for i in range(last)}, ["clusters"]
    )
    largest = real[np.argsort(-sizes[real], kind="stable")[:LARGEST]]
    folds = []
    for rank, which in enumerate(largest, 1):
        span = slice(int(starts[which]), int(starts[which] + sizes[which]))
        order = np.argsort(extra[span], kind="stable")  # the keeper first
        members = rows[span][order][: MEMBERS + 1]
        flags = extra[span][order]
        cards = [record(row, EXCERPT, "duplicate" if flag else el("strong", "kept"))
                 for row, flag in zip(take(pool, members, EXCERPT), flags[: MEMBERS + 1], strict=True)]  # fmt: skip
        left = int(sizes[which]) - len(cards)
        folds.append(
            fold(f"Cluster {rank}: {int(sizes[which]):,} records", cards, note(f"and {left:,} more") if left else None)
        )
    return [*head, chart, el("h4", f"The {len(folds)} largest"), *folds]


def _members(pool: Pool, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Row, cluster and duplicate mark of every record that has a cluster."""
    rows, ids, marks, offset = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, bool)], 0
    for batch in pool.batches([f"{name}.cluster", f"{name}.duplicate"]):
        has = pc.is_valid(batch.column(0)).to_numpy(zero_copy_only=False)
        mark = pc.fill_null(batch.column(1), False).to_numpy(zero_copy_only=False)
        ids.append(pc.cast(batch.column(0).drop_null(), pa.int64(), safe=False).to_numpy())
        rows.append(np.flatnonzero(has) + offset)
        marks.append(mark[has])
        offset += batch.num_rows
    return np.concatenate(rows), np.concatenate(ids), np.concatenate(marks)


# ---- contamination ---------------------------------------------------------------------------


@dataclass
class _Hit:
    records: int = 0
    largest: float = -1.0
    row: int = 0


def contamination(build: Build) -> Markup:
    """Evaluation items that are in the pool, and where."""
    title, pool, name = "Contamination", build.pool, "contamination"
    own = {f.name for f in pool.schema.field(name).type} if name in pool.schema.names else set()
    if not {"item", "overlap"} <= own:
        return section(name, title, note("It was not looked for: the recipe has no goal, or decontaminate: false."))
    hits, records = _hits(pool, "hit" in own)
    if not hits:
        return section(name, title, el("p", f"None of the {pool.count:,} records overlaps an item of the goal."))
    worst = sorted(hits.items(), key=lambda kv: (-kv[1].largest, -kv[1].records, kv[0]))
    rows = [[el("code", el("bdi", shown(item, NAME))), h.records, f"{h.largest:.0%}"] for item, h in worst]
    found = take(pool, [h.row for _, h in worst[:HITS]], EXCERPT)
    cards = [record(row, EXCERPT, f"{h.largest:.0%} of item ", el("code", el("bdi", shown(item, NAME))))
             for (item, h), row in zip(worst[:HITS], found, strict=True)]  # fmt: skip
    return section(
        name, title,
        el("p", f"{records:,} records overlap {len(hits):,} evaluation items."),
        table(["evaluation item", "records", "largest overlap"], rows, "Hits by evaluation item"),
        fold(f"The record that overlaps most, for {len(cards)} items", cards),
    )  # fmt: skip


def _hits(pool: Pool, has_flag: bool) -> tuple[dict[str, _Hit], int]:
    hits: dict[str, _Hit] = {}
    offset = records = 0
    columns = ["contamination.item", "contamination.overlap", *(["contamination.hit"] if has_flag else [])]
    for batch in pool.batches(columns):
        flag = pc.is_valid(batch.column(0))
        if has_flag:
            flag = pc.and_(flag, pc.fill_null(batch.column(2), False))
        for row in np.flatnonzero(flag.to_numpy(zero_copy_only=False)):
            values: list[Any] = [batch.column(k)[int(row)].as_py() for k in (0, 1)]
            hit = hits.setdefault(str(values[0]), _Hit())
            hit.records += 1
            records += 1
            if (overlap := float(values[1] or 0.0)) > hit.largest:
                hit.largest, hit.row = overlap, offset + int(row)
        offset += batch.num_rows
    return hits, records
