"""What was decided and whether it works: verdict, mixture, what was dropped and why."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.core.plan import Decision, Plan, groups
from tilth.core.pool import Pool
from tilth.engine.prove import PLAN, Verdict
from tilth.report import charts
from tilth.report.markup import Markup, el, shown
from tilth.report.parts import NAME, SENTENCE, as_yaml, fold, note, p_value, record, section, table, take, warning

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["dropped", "goes_in", "pick", "verdict"]

EXAMPLES, EXCERPT = 3, 300
LICENCES = 1000
Rows = npt.NDArray[np.int64]


def pick(build: Build, ids: pa.Array, mask: npt.NDArray[np.bool_], count: int, place: str) -> Rows:
    """Up to `count` of the marked records, the same ones whenever the report is made."""
    rows: Rows = np.flatnonzero(mask)
    u = build.run.at("report").uniform(ids.take(pa.array(rows)), place)
    return rows[np.argsort(u, kind="stable")[:count]]


# ---- verdict ---------------------------------------------------------------------------------


def verdict(build: Build) -> Markup:
    """The verdict, its intervals, every candidate, and what a reader must know before believing it."""
    if build.proof is None:
        return section(
            "verdict", "Verdict",
            el("p", "No proof was run: this recipe has none, so nothing here says that the plan helps. "
                    "State proof: {use: ngram, seeds: 5} to find out.", class_="headline even"),
        )  # fmt: skip
    found = build.verdict
    word = found.headline.split(" ", 1)[0].lower()
    tone = {"better": "good", "worse": "bad"}.get(word, "even")
    return section(
        "verdict", "Verdict",
        el("p", found.headline, class_=f"headline {tone}"),
        _forest(found),
        note("Each line is the baseline's loss minus the plan's, with its 95 % interval. A line that crosses zero "
             "shows no difference. The plan's own worst is a control: the plan should beat it."),
        _candidates(found),
        _curves(found),
        _tasks(found),
        el("h3", "What to know before believing it"),
        el("ul", [el("li", line) for line in found.trust()]),
    )  # fmt: skip


def _forest(found: Verdict) -> Markup:
    rows = [
        charts.Interval(row["name"], row["effect"], row["low"], row["high"], row["plan_is"])
        for row in found.table()
        if "effect" in row
    ]
    return charts.forest("The plan against each baseline", rows, found.unit, "baseline is better", "plan is better")


def _candidates(found: Verdict) -> Markup:
    rows = []
    for row in found.table():
        if "effect" not in row:
            rows.append([el("strong", "the plan"), f"{row['loss']:.4f}", "", "", "", ""])
            continue
        call = row["plan_is"]
        tone = {"better": "good", "worse": "bad"}.get(call, "even")
        rows.append([
            shown(row["name"], NAME), f"{row['loss']:.4f}", f"{row['effect']:+.4f}",
            f"[{row['low']:+.4f}, {row['high']:+.4f}]", p_value(row["p_adjusted"]),
            el("span", f"plan is {call}" if call != "no difference" else call, class_=f"call {tone}"),
        ])  # fmt: skip
    heads = ["candidate", f"loss ({found.unit})", "effect", "95 % interval", "adjusted p", "call"]
    return table(heads, rows, "All candidates, best first")


def _curves(found: Verdict) -> list[Markup] | None:
    """How the losses fell, from proofs that measure on the way, and how soon the plan gets where each rival ends."""
    curves = found.evidence.mean_curves()
    if PLAN not in curves or len(curves[PLAN][0]) < 2:
        return None
    rows = [[shown(name, NAME), str(told)] for name, told in found.evidence.reach.items()]
    return [
        el("h3", "On the way"),
        charts.lines("Loss over tokens read", curves, "tokens read", found.unit, PLAN, found.best),
        table(["baseline", "the plan reaches its final loss with"], rows, "Tokens to reach, with 95 % intervals"),
    ]


def _tasks(found: Verdict) -> list[Markup] | None:
    """The plan's marks on every task after each of its phases, from a proof of the continual protocol."""
    if PLAN not in found.tasks:
        return None
    told = found.tasks[PLAN]
    steps = ["nothing", *(f"phase {number}" for number in told.phases)]
    marks = [told.before, *told.marks]
    rows = [[step, *(f"{mark:.4f}" for mark in row)] for step, row in zip(steps, marks, strict=True)]
    heads = ["after", *(shown(name, NAME) for name in told.tasks)]
    return [el("h3", "Tasks, phase by phase"), table(heads, rows, f"The plan's marks ({told.score})")]


# ---- what goes in ----------------------------------------------------------------------------


def goes_in(build: Build) -> Markup:
    """Records and tokens per source, requested and realised mixture, epochs, budget."""
    title, pool = "What goes in", build.pool
    licences = _licences(pool)
    if build.goal is None:
        sources = groups(pool, "source")
        counts = sources.sums(np.ones(sources.index.size))
        rows = [[name, int(n), licences.get(name, "")] for name, n in zip(sources.names, counts, strict=True)]
        return section(
            "goes-in", title, note("This recipe has no goal, so there is no plan: the pool was imported and measured."),
            table(["source", "records", "licence"], rows, "The pool, by source"),
        )  # fmt: skip
    plan, unit = build.plan, build.plan.budget.unit
    used = plan.amount / plan.budget.amount
    lines: list[object] = [
        el("p", f"Budget {plan.budget}; the plan reads {plan.amount:,} ({used:.1%}) from {int(plan.kept.sum()):,} of "
                f"{len(plan):,} records."),
    ]  # fmt: skip
    if used < 0.95:
        lines.append(warning(f"the plan fills only {used:.1%} of the budget: its rules leave too little."))
    names, whole = plan.sources.names, plan.sources.sums(plan.sizes)
    epochs, mixture = plan.epochs(), plan.mixture()
    columns: dict[str, list[object]] = {
        "source": [*names],
        "records": [*plan.sources.sums(np.ones(len(plan)))],
        unit: [*whole],
        "share of pool": [_share(v) for v in whole / max(whole.sum(), 1)],
        "requested": [_share(plan.requested.get(n, 0.0)) for n in names],
        "realised": [_share(mixture[n]) for n in names],
        "records in plan": [*plan.sources.sums(plan.kept)],
        f"{unit} read": [*plan.sources.sums(plan.sizes * plan.repeats)],
        "epochs": [f"{epochs[n]:.2f}" for n in names],
        "licence": [licences.get(n, "") for n in names],
    }
    if not plan.requested or plan.by != "source":
        del columns["requested"]
    lines.append(table([*columns], list(zip(*columns.values(), strict=True)), "The plan, by source"))
    lines.append(_mixture(plan, pool))
    return section("goes-in", title, lines)


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.1%}"


def _mixture(plan: Plan, pool: Pool) -> list[Markup]:
    by = plan.sources if plan.by == "source" else groups(pool, plan.by)
    everything = by.sums(plan.sizes)
    of_pool = dict(zip(by.names, everything / max(everything.sum(), 1), strict=True))
    realised = plan.mixture(by)
    order = sorted(by.names, key=lambda name: (-realised[name], name))[:40]
    asked = {n: plan.requested.get(n, float("nan")) for n in by.names}
    rows = {n: (of_pool[n], asked[n], realised[n]) if plan.requested else (of_pool[n], realised[n]) for n in order}
    series = ["share of pool", "requested", "realised"] if plan.requested else ["share of pool", "realised"]
    out = [el("h3", f"Mixture by {shown(plan.by, NAME)}"), charts.bars("Mixture", rows, series, "%")]
    if plan.by != "source":
        epochs = plan.epochs(by)
        cells = [[n, _share(of_pool[n]), _share(plan.requested.get(n)), _share(realised[n]), f"{epochs[n]:.2f}"]
                 for n in by.names]  # fmt: skip
        out.append(table([plan.by, *series, "epochs"], cells, f"Mixture by {shown(plan.by, NAME)}"))
    return out


def _licences(pool: Pool) -> dict[str, str]:
    """Source -> its licences, commonest first."""
    if "license" not in pool.schema.names:
        return {}
    found: Counter[tuple[str, str]] = Counter()
    for batch in pool.batches(["source", "license"]):
        pairs = pa.Table.from_batches([batch]).group_by(["source", "license"]).aggregate([([], "count_all")])
        for row in pairs.to_pylist():
            key = (row["source"] or "(none)", row["license"] or "not stated")
            found[key if key in found or len(found) < LICENCES else (key[0], "others")] += row["count_all"]
    out: dict[str, list[str]] = {}
    for (source, licence), _ in sorted(found.items(), key=lambda kv: (-kv[1], kv[0])):
        out.setdefault(source, []).append(shown(licence, NAME))
    return {s: ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            for s, names in out.items()}  # fmt: skip


# ---- what was dropped ------------------------------------------------------------------------


def dropped(build: Build) -> Markup:
    """Each decision with its numbers and examples, and reasons by source."""
    title = "What was dropped, and why"
    if build.goal is None:
        return section("dropped", title, note("Nothing: without a goal there is no plan."))
    plan = build.plan
    if not plan.decisions:
        return section("dropped", title, note("Nothing: the plan is every record once."))
    unit = plan.budget.unit
    rows = [
        [f"{i}. {d.policy.get('use', '?')}", d.records[0], d.records[1], d.records[1] - d.records[0], d.amount[0],
         d.amount[1], shown(d.reason, SENTENCE)]
        for i, d in enumerate(plan.decisions, 1)
    ]  # fmt: skip
    heads = ["decision", "records before", "after", "change", f"{unit} read before", "after", "why a record is out"]
    return section(
        "dropped", title,
        table(heads, rows, "Decisions, in order"),
        _by_source(plan),
        el("h3", "One by one"),
        [_decision(build, i, d) for i, d in enumerate(plan.decisions)],
    )  # fmt: skip


def _by_source(plan: Plan) -> Markup:
    width = len(plan.decisions) + 1
    cells = np.bincount(plan.sources.index * width + plan.dropped_by + 1, minlength=len(plan.sources.names) * width)
    matrix = cells.reshape(len(plan.sources.names), width)
    heads = ["source", "kept", *(f"out by {i}. {d.policy.get('use', '?')}" for i, d in enumerate(plan.decisions, 1))]
    rows = [[name, *(int(v) for v in row)] for name, row in zip(plan.sources.names, matrix, strict=True)]
    return table(heads, rows, "Records kept and dropped, by source and decision")


def _decision(build: Build, number: int, decision: Decision) -> Markup:
    plan = build.plan
    out = plan.dropped_by == number
    count = int(out.sum())
    title = f"{number + 1}. {decision.policy.get('use', '?')}: {count:,} records out"
    details = dict(decision.details)
    conjuncts = details.pop("conjuncts", None)
    details.pop("warnings", None)
    parts: list[object] = [el("p", shown(decision.note, 2 * SENTENCE))]
    parts += [note(shown(f"Warning: {warning}", 2 * SENTENCE)) for warning in decision.warnings]
    if not count and decision.records[0] == decision.records[1] and decision.amount[0] == decision.amount[1]:
        parts.append(note("It changed neither records nor amounts."))
    if conjuncts:
        rows = [[el("code", shown(c.get("where"), SENTENCE)), c.get("false"), c.get("unknown")] for c in conjuncts]
        parts.append(
            table(["condition", "does not hold", "unknown"], rows, "Its conditions; a record may fail several")
        )
    if decision.threshold:
        cuts = [[shown(name, NAME), value] for name, value in decision.threshold.items()]
        parts.append(table(["cut", "value"], cuts, "Where it cut"))
    if details:
        parts.append(fold("What it found", as_yaml(details)))
    parts.append(fold("The policy", as_yaml(dict(decision.policy))))
    if count:
        rows_ = pick(build, plan.ids, out, EXAMPLES, f"dropped {number}")
        parts.append(el("h4", f"{len(rows_)} of the {count:,} it took out"))
        parts += [record(row, EXCERPT) for row in take(build.pool, rows_, EXCERPT)]
    return fold(title, parts, is_open=True)
