"""Plain words for people: why a record is in or out, how two plans differ, what a plan, verdict or method is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.errors import UsageError
from tilth.core.method import Method
from tilth.core.plan import Plan
from tilth.core.policy import Policy
from tilth.core.signal import Signal
from tilth.engine.prove import Verdict
from tilth.engine.store import StoredPool
from tilth.engine.tournament import Tournament

__all__ = [
    "describe_diff",
    "describe_method",
    "describe_plan",
    "describe_tournament",
    "describe_verdict",
    "describe_why",
    "diff",
    "why",
]

DIFF_EXAMPLES = 5


# ---- why -------------------------------------------------------------------------------------


def why(out: Path, record: str) -> dict[str, Any]:
    """Everything the build in `out` knows about one record.

    Returns plain data: the record's place, its signals, each decision with its cut, and the outcome.

    Raises:
        UsageError: when the pool has no record of this id.
    """
    pool, plan = StoredPool(out / "pool"), Plan.load(out / "plan")
    row = pc.index(plan.ids, pa.scalar(record, plan.ids.type)).as_py()
    if row < 0:
        raise UsageError(f"No record has the id {record!r} in {out}. Ids are in the exports and in plan/plan.parquet.")
    names = [n for n in pool.schema.names if pool.column_maker(n)]
    values = pool.take([row], ["text", "source", "license", *names]).to_pylist()[0]
    steps = [_step(plan, pool, number, row) for number in range(len(plan.decisions))]
    repeats = int(plan.repeats[row])
    return {
        "id": record,
        "source": values["source"],
        "license": values["license"],
        "excerpt": (values["text"] or "")[:200],
        "size": int(plan.sizes[row]),
        "signals": {n: values[n] for n in names},
        "steps": steps,
        "repeats": repeats,
        "phase": int(plan.phase[row]),
        "prefix": plan.conditioning.prefixes[plan.conditioning.tags.index[row]] if plan.conditioning else "",
        "weight": float(plan.weights.first[row]) if plan.weights else 1.0,
        "outcome": _outcome(plan, row, steps),
    }


def _step(plan: Plan, pool: StoredPool, number: int, row: int) -> dict[str, Any]:
    """What one decision did with one record, and the number or condition it hung on."""
    decision = plan.decisions[number]
    step: dict[str, Any] = {"policy": decision.policy.get("use", "?"), "note": decision.note}
    last = int(plan.dropped_by[row])
    step["did"] = "dropped it" if last == number else "kept it" if last < 0 or last > number else "it was already out"
    if step["did"] == "it was already out":
        return step
    where = decision.policy.get("where")
    if isinstance(where, str):
        from tilth.policies.select.keep import Keep, explain

        columns = list(Keep(where=where).needs)
        facts = pool.take([row], columns).to_pylist()[0]
        step["conditions"] = [
            {"condition": text, "holds": value, "values": used} for text, value, used in explain(where, facts)
        ]
        return step
    key = plan.values.get(f"{number}.key")
    if key is not None and not np.isnan(key[row]):
        step["key"] = float(key[row])
        cuts = decision.threshold
        group = plan.sources.names[plan.sources.index[row]]
        cut = cuts.get(f"key:{group}", cuts.get("key"))
        if cut is not None:
            step["cut"] = float(cut)
    return step


def _outcome(plan: Plan, row: int, steps: list[dict[str, Any]]) -> str:
    repeats, by = int(plan.repeats[row]), int(plan.dropped_by[row])
    if repeats == 1:
        return "in the plan, read once"
    if repeats > 1:
        return f"in the plan, read {repeats} times"
    step = steps[by] if 0 <= by < len(steps) else {}
    said = f"not in the plan: dropped by {step.get('policy', '?')} ({plan.decisions[by].reason})"
    failed = [c for c in step.get("conditions", []) if c["holds"] is not True]
    if failed:
        need = " and ".join(f"{c['condition']} (now {_values(c['values'])})" for c in failed)
        return f"{said}. It would be in if {need} held"
    if "cut" in step:
        return f"{said}. Its key is {step['key']:.4g}; it would be in at {step['cut']:.4g} or more"
    return said


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{k} = {v!r}" for k, v in values.items()) or "unknown"


def describe_why(told: dict[str, Any]) -> str:
    """`why` for people."""
    lines = [f"{told['id']}  source {told['source']}, size {told['size']}", f"outcome: {told['outcome']}"]
    lines += [f"read after {told['prefix']!r}, which is not learned"] * bool(told["prefix"] and told["repeats"])
    lines += [f"its loss counts {told['weight']:.3g} at first"] * bool(told["weight"] < 1 and told["repeats"])
    lines.append("")
    for number, step in enumerate(told["steps"]):
        line = f"  {number}. {step['policy']}: {step['did']} ({step['note']})"
        if "key" in step:
            line += f"; key {step['key']:.4g}" + (f", cut {step['cut']:.4g}" if "cut" in step else "")
        lines.append(line)
        for c in step.get("conditions", []):
            mark = {True: "yes", False: "no", None: "unknown"}[c["holds"]]
            lines.append(f"       {mark:7} {c['condition']}   {_values(c['values'])}")
    lines += ["", "signals:"]
    for name, value in told["signals"].items():
        lines.append(f"  {name}: {json.dumps(value, ensure_ascii=False, default=str)[:300]}")
    lines += ["", f"text: {told['excerpt']!r}"]
    return "\n".join(lines)


# ---- diff ------------------------------------------------------------------------------------


def _load(folder: Path) -> Plan:
    return Plan.load(folder / "plan" if (folder / "plan" / "plan.json").exists() else folder)


def diff(before: Path, after: Path) -> dict[str, Any]:
    """Who entered, who left and whose repeats changed between two saved plans, with the reasons.

    Raises:
        PoolCorrupt: when a folder holds no complete plan.
    """
    a, b = _load(before), _load(after)
    # Records are matched by id, so that plans over two imports of growing sources can be compared too.
    place = _match(a.ids, b.ids)
    in_a = np.zeros(len(b), bool)
    known = place >= 0
    in_a[known] = a.kept[place[known]]
    entered = np.flatnonzero(b.kept & ~in_a)
    back = _match(b.ids, a.ids)
    in_b = np.zeros(len(a), bool)
    in_b[back >= 0] = b.kept[back[back >= 0]]
    left = np.flatnonzero(a.kept & ~in_b)
    both = np.flatnonzero(b.kept & in_a)
    changed = both[a.repeats[place[both]] != b.repeats[both]]
    timed = both[_differs(a, b, place[both], both)]

    def reasons(plan: Plan, rows: np.ndarray[Any, Any], where: np.ndarray[Any, Any]) -> Counter[str]:
        told: Counter[str] = Counter()
        for row in rows:
            there = where[row]
            by = int(plan.dropped_by[there]) if there >= 0 else -2
            if there < 0:
                told["not in the other pool"] += 1
            elif by >= 0:
                told[f"{plan.decisions[by].policy.get('use')}: {plan.decisions[by].reason}"] += 1
        return told

    return {
        "before": a.header(),
        "after": b.header(),
        "entered": _side(b, entered, reasons(a, entered, place), "was out because"),
        "left": _side(a, left, reasons(b, left, back), "is out because"),
        "repeats_changed": len(changed),
        "otherwise_changed": len(np.setdiff1d(timed, changed)),
        "same": len(both) - len(np.union1d(changed, timed)),
        "mixture": {
            name: [a.mixture().get(name, 0.0), b.mixture().get(name, 0.0)]
            for name in sorted({*a.sources.names, *b.sources.names})
        },
    }


def _differs(a: Plan, b: Plan, rows: np.ndarray[Any, Any], others: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which of these records are read at another time, after another prefix or with another weight."""
    ranks = a.rank[rows], b.rank[others]
    out = (a.phase[rows] != b.phase[others]) | ((ranks[0] != ranks[1]) & ~(np.isnan(ranks[0]) & np.isnan(ranks[1])))

    def before(plan: Plan, where: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if plan.conditioning is None:
            return np.full(where.size, "")
        return np.asarray(np.array(plan.conditioning.prefixes)[plan.conditioning.tags.index[where]])

    def counted(plan: Plan, where: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], float]:
        return (np.ones(where.size), 0.0) if plan.weights is None else (plan.weights.first[where], plan.weights.end)

    (first, end), (second, other) = counted(a, rows), counted(b, others)
    risen = (end != other) & ((first < 1) | (second < 1))  # a weight of 1 stays 1 whenever the others have risen
    return np.asarray(out | (before(a, rows) != before(b, others)) | (first != second) | risen)


def _match(values: pa.Array, queries: pa.Array) -> np.ndarray[Any, Any]:
    """Row of each query among the values, -1 where there is none."""
    found = pc.fill_null(pc.index_in(queries, value_set=values), -1)
    return found.to_numpy(zero_copy_only=False).astype(np.int64)  # type: ignore[no-any-return]


def _side(plan: Plan, rows: np.ndarray[Any, Any], why: Counter[str], word: str) -> dict[str, Any]:
    names = plan.sources.names
    return {
        "records": len(rows),
        "amount": int((plan.sizes[rows] * plan.repeats[rows]).sum()),
        "by_source": dict(Counter(names[i] for i in plan.sources.index[rows]).most_common()),
        word: dict(why.most_common()),
        "examples": plan.ids.take(pa.array(rows[:DIFF_EXAMPLES], pa.int64())).to_pylist(),
    }


def describe_diff(told: dict[str, Any]) -> str:
    """`diff` for people."""
    lines = []
    for side, word in (("entered", "was out because"), ("left", "is out because")):
        s = told[side]
        lines.append(f"{side}: {s['records']:,} records, {s['amount']:,} tokens or records")
        lines += [f"  {n:,} from {name}" for name, n in s["by_source"].items()]
        lines += [f"  {n:,} {word}: {reason}" for reason, n in s[word].items()]
        if s["examples"]:
            lines.append(f"  such as {', '.join(s['examples'])}")
    lines.append(
        f"repeats changed: {told['repeats_changed']:,}; phase, rank, prefix or weight changed: "
        f"{told['otherwise_changed']:,}; unchanged: {told['same']:,}"
    )
    lines.append("mixture, before -> after:")
    lines += [f"  {name:24} {a:7.2%} -> {b:7.2%}" for name, (a, b) in told["mixture"].items()]
    return "\n".join(lines)


# ---- plan, verdict, method -------------------------------------------------------------------


def describe_plan(plan: Plan) -> str:
    """A plan's decisions and its requested and realised mixture."""
    lines = []
    for number, d in enumerate(plan.decisions):
        lines.append(
            f"{number}. {d.policy.get('use')}: {d.note}; records {d.records[0]:,} -> {d.records[1]:,}, "
            f"{plan.budget.unit} {d.amount[0]:,} -> {d.amount[1]:,}"
        )
        lines += [f"   warning: {warning}" for warning in d.warnings]
    lines.append(f"budget {plan.budget}, realised {plan.amount:,}")
    realised, epochs = plan.mixture(), plan.epochs()
    read = plan.sources.sums(plan.sizes * plan.repeats)
    lines.append(f"{'source':24} {'requested':>10} {'realised':>10} {plan.budget.unit:>14} {'epochs':>7}")
    for name, amount in zip(plan.sources.names, read, strict=True):
        asked = plan.requested.get(name) if plan.by == "source" else None
        shown = "-" if asked is None else f"{asked:.2%}"
        lines.append(f"{name:24} {shown:>10} {realised[name]:>10.2%} {amount:>14,.0f} {epochs[name]:>7.2f}")
    return "\n".join(lines)


def describe_verdict(verdict: Verdict) -> str:
    """A verdict with its table and what to know before believing it."""
    lines = [
        verdict.headline,
        "",
        f"{'':16} {'loss':>8} {'plan gains':>10}  {'95 % interval':20} {'p':>8}  the plan is",
    ]
    for row in verdict.table():
        line = f"{row['name']:16} {row['loss']:8.4f}"
        if "effect" in row:
            span = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
            line += f" {row['effect']:+10.4f}  {span:20} {row['p_adjusted']:8.2g}  {row['plan_is']}"
        lines.append(line)
    lines += ["", *(f"- {line}" for line in verdict.trust())]
    return "\n".join(lines)


def describe_tournament(found: Tournament) -> str:
    """A tournament's table, costs and what to know before believing it."""
    wide = max([16, *(len(name) for name in found.planned)])
    seconds = found.seconds()
    lines = [
        found.headline,
        "",
        f"{'':{wide}} {'loss':>8} {'gain':>8}  {'95 % interval':20} {'p':>6}  {'it is':14} {'reads':>12} "
        f"{'seconds':>8}",
    ]
    for row in found.table():
        name = row["name"]
        effect, span, p, call = "", "", "", "baseline" if row["baseline"] else ""
        if "effect" in row:
            effect, p, call = f"{row['effect']:+.4f}", f"{row['p_adjusted']:.2g}", row["it_is"]
            span = f"[{row['low']:+.4f}, {row['high']:+.4f}]"
        if "out_in_round" in row:
            call = f"out in round {row['out_in_round']}"
        loss = f"{row['loss']:.4f}" if "loss" in row else f"({row['loss_there']:.4f})"
        lines.append(
            f"{name:{wide}} {loss:>8} {effect:>8}  {span:20} {p:>6}  {call:14} {row['amount']:>12,} "
            f"{seconds[name]:>8.1f}"
        )
    lines += ["", f"gain: lower loss than {found.reference}, the best uninformed baseline"]
    if found.halving is not None and found.halving.out:
        lines.append("losses in brackets are those of the round a policy did not survive, at a smaller scale")
    lines += [f"- {line}" for line in found.trust()]
    for name, told in found.evidence.reach.items():
        score = f"; profile {found.profiles.scores[name]:.2f}" if found.profiles else ""
        lines.append(f"- {name} reaches the final loss of {found.reference} with {told}{score}")
    lines += [f"not in the table: {name} ({why})" for name, why in found.missing.items()]
    return "\n".join(lines)


def describe_method(cls: type[Method]) -> str:
    """A method's docstring, fields with ranges, columns and paper."""
    import inspect

    lines = [f"{cls.name()} ({cls.noun()})", "", inspect.getdoc(cls) or "", ""]
    properties = cls.model_json_schema().get("properties", {})
    if properties:
        lines.append("Fields:")
    for name, info in properties.items():
        limits = [f"{word} {info[key]}" for key, word in _LIMITS.items() if key in info]
        choice = [f"one of {', '.join(map(str, info['enum']))}"] if "enum" in info else []
        default = cls.model_fields[name].get_default(call_default_factory=True)
        shown = default.describe() if isinstance(default, Method) else default
        about = "; ".join([*choice, *limits, *([info["description"]] if "description" in info else [])])
        told = "(to be stated)" if cls.model_fields[name].is_required() else repr(shown)
        lines.append(f"  {name} = {told}  {about}".rstrip())
    if issubclass(cls, Signal) and not any(f.is_required() for f in cls.model_fields.values()):
        lines.append("Columns: " + ", ".join(f"{cls.name()}.{n} ({t})" for n, t in cls().makes.items()))
    if issubclass(cls, (Signal, Policy)) and not any(f.is_required() for f in cls.model_fields.values()):
        lines.append(f"Reads: {', '.join(dict.fromkeys(cls().needs)) or 'nothing'}")
    lines.append(f"Paper: {cls.paper or 'none, see the text above'}; version {cls.version}")
    return "\n".join(lines)


_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
