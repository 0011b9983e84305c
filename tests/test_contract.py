"""What every method must pass; a new method is covered the moment its file exists. No method is named here."""

from __future__ import annotations

import inspect
import json
import pickle
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic_core import PydanticUndefined

from tilth import catalog
from tilth.core import (
    Budget,
    Goal,
    Limits,
    Method,
    OnlinePolicy,
    Plan,
    Policy,
    Pool,
    Probe,
    Proof,
    Run,
    Signal,
    TablePool,
    Transform,
    World,
)
from tilth.core.errors import BadField, UnknownMethod
from tilth.core.pool import select
from tilth.core.records import FIELDS, KINDS, Kind
from tilth.engine.apply import score_in_memory
from tilth.engine.write import write

NAMES = [*catalog.names()]
SEED = 7
TORTURE = [
    "",
    " ",
    "\n\r\n\t",
    "a",
    "\x00nul\x00",
    "e\u0301 combining \u0301",
    "\u202eright to left\u202c שלום عربي",
    "emoji 👩‍👩‍👧‍👦 🏳️‍🌈",
    "x" * 100_000,
    "word " * 3000,
    "=cmd|' /C calc'!A0",
    "</script><script>alert(1)</script>",
    "line\r\nline\r\nline",
    "漢字仮名交じり文。" * 50,
    "İstanbul ß ﬁ Ǆ",
]


def build(cls: type[Method]) -> Any:
    """A method with its defaults; a field without one states an example in its definition."""
    given = {
        name: field.examples[0]
        for name, field in cls.model_fields.items()
        if field.is_required() and field.examples is not None
    }
    return cls(**given)


def of(noun: type[Method]) -> list[str]:
    return [name for name in NAMES if issubclass(catalog.find(name), noun)]


def prose(n: int, run: Run) -> list[str]:
    words = [
        "the",
        "of",
        "and",
        "to",
        "soil",
        "seed",
        "water",
        "field",
        "grows",
        "under",
        "a",
        "warm",
        "wind",
        "while",
        "old",
        "farmers",
        "wait",
        "for",
        "rain",
    ]
    rng = run.rng("prose")
    return [" ".join(rng.choice(words, size=int(rng.integers(5, 60)))).capitalize() + "." for _ in range(n)]


def beside(i: int) -> str:
    """What an input may have beside its texts: who answered a record right (1, 0, or null for not asked)."""
    outcomes = [None if (i + s) % 5 == 0 else int((i * 37 + s * 11) % 16 < 4 + 3 * s) for s in range(4)]
    attempts = [{"player": f"p{s}", "right": r, "period": i % 3} for s, r in enumerate(outcomes) if r is not None]
    return json.dumps({"lang": "en", "outcomes": outcomes, "attempts": attempts})


@pytest.fixture(scope="module")
def world() -> World:
    """A text pool of two sources with a goal, every column any method here may need."""
    run = Run(seed=SEED)
    texts = prose(240, run) + TORTURE
    n = len(texts)
    table = pa.table(
        {
            "id": [f"id{i}" for i in range(n)],
            "text": pa.array([*texts[:-1], None], pa.string()),
            "label": ["yes" if i % 3 else "no" for i in range(n)],
            "source": ["a" if i % 2 else "b" for i in range(n)],
            "meta": pa.array([beside(i) if i % 7 else None for i in range(n)], pa.string()),
        }
    )
    pool = TablePool(table, "labeled", fragment=100)
    target = TablePool(pa.table({"text": prose(12, run.at("target"))}))
    holdout = TablePool(pa.table({"text": prose(12, run.at("holdout"))}))
    goal = Goal(target, holdout, Budget(1500))
    for name in of(Signal):  # columns that policies and proofs may read
        signal = build(catalog.find(name))
        if all(c in pool.column_names() for c in signal.needs) and target.kind in signal.target_kinds:
            pool = score_in_memory(signal, pool, goal, run)
    return World(pool, goal)


def world_of(kind: Kind) -> World:
    """A small world whose pool, target and holdout are all of one kind; one text of each is strange."""
    run = Run(seed=SEED).at(kind)

    def pool(part: str, n: int) -> TablePool:
        one, two, three = (prose(n, run.at(part, i)) for i in range(3))
        one[-1] = TORTURE[7]
        fields: dict[Kind, dict[str, Any]] = {
            "text": {"text": one},
            "labeled": {"text": one, "label": ["yes" if i % 3 else "no" for i in range(n)]},
            "instruction": {
                "messages": [
                    [{"role": "user", "content": a}, {"role": "assistant", "content": b}]
                    for a, b in zip(one, two, strict=True)
                ]
            },
            "preference": {"prompt": one, "chosen": two, "rejected": three},
            "retrieval": {"query": one, "positive": two, "negatives": [[t] for t in three]},
        }
        columns = {"id": [f"{part}{i}" for i in range(n)], **fields[kind]}
        table = pa.table({k: pa.array(v, FIELDS[kind].get(k, pa.string())) for k, v in columns.items()})
        made = TablePool(table.append_column("source", pa.array(["ab"[i % 2] for i in range(n)])), kind)
        sizes = [{"count": len(text.split())} for text in made.column("text").to_pylist()]
        return made.with_column("tokens", pa.array(sizes, pa.struct([("count", pa.int32())])))

    budgets: dict[Kind, Budget] = {"text": Budget(1500), "instruction": Budget(1500), "retrieval": Budget(40, "pairs")}
    goal = Goal(pool("target", 8), pool("holdout", 8), budgets.get(kind, Budget(40, "records")))
    return World(pool("pool", 60), goal)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_world_of_every_kind(kind: Kind) -> None:
    world = world_of(kind)
    assert world.goal is not None
    assert {world.pool.kind, world.goal.target.kind, world.goal.holdout.kind} == {kind}
    assert Plan.everything(world.pool, world.goal.budget).amount > world.goal.budget.amount


@pytest.mark.parametrize("name", NAMES)
def test_named_after_its_file(name: str) -> None:
    assert catalog.find(name).__name__.lower() == name.replace("_", "")
    public = [
        c
        for c in vars(inspect.getmodule(catalog.find(name))).values()
        if isinstance(c, type)
        and issubclass(c, Method)
        and c.__module__.endswith(f".{name}")
        and c.__name__.isidentifier()
    ]
    assert len(public) == 1


@pytest.mark.parametrize("name", NAMES)
def test_is_a_value(name: str) -> None:
    method = build(catalog.find(name))
    assert method == build(catalog.find(name))
    assert hash(method) == hash(build(catalog.find(name)))
    assert method.fingerprint() == build(catalog.find(name)).fingerprint()
    assert catalog.build(method.describe()) == method
    assert pickle.loads(pickle.dumps(method)) == method


@pytest.mark.parametrize("name", NAMES)
def test_is_documented(name: str) -> None:
    cls = catalog.find(name)
    text = inspect.getdoc(cls) or ""
    assert ">>>" in text, f"{name} shows no executed example"
    assert len(text) > 300, f"{name} says too little: what, cost, trap, source"
    for field, info in cls.model_fields.items():
        assert info.description, f"{name}.{field} has no description"
    if cls.paper:
        papers = tomllib.loads((Path(__file__).parents[1] / "papers.toml").read_text())["paper"]
        assert cls.paper in {p["key"] for p in papers}


@pytest.mark.parametrize("name", NAMES)
def test_has_an_exam(name: str) -> None:
    exam = Path(__file__).parent / "exams" / f"test_{name}.py"
    assert exam.exists(), f"write {exam.name}: {name} must beat chance and the naive rival where the truth is known"
    assert "assert " in exam.read_text()


def out_of_bounds(cls: type[Method]) -> Iterator[tuple[str, Any]]:
    for field, info in cls.model_json_schema().get("properties", {}).items():
        yield field, {"no": "such"}
        for options in (info, *info.get("anyOf", ())):
            if "minimum" in options:
                yield field, options["minimum"] - 1
            if "maximum" in options:
                yield field, options["maximum"] + 1
            if "exclusiveMinimum" in options:
                yield field, options["exclusiveMinimum"]
            if "enum" in options:
                yield field, "nothing like it"


@pytest.mark.parametrize("name", NAMES)
def test_rejects_bad_fields_with_a_sentence(name: str) -> None:
    cls = catalog.find(name)
    with pytest.raises(BadField, match="has no field 'no_such_field'"):
        cls(no_such_field=1)
    for field, value in out_of_bounds(cls):
        given = {**{n: i.examples[0] for n, i in cls.model_fields.items() if i.is_required() and i.examples}}
        with pytest.raises((BadField, UnknownMethod), match=r"."):
            cls(**{**given, field: value})


def test_fields_have_defaults_or_examples() -> None:
    for name in NAMES:
        for field, info in catalog.find(name).model_fields.items():
            assert info.default is not PydanticUndefined or info.default_factory or info.examples, f"{name}.{field}"


def rows(signal: Signal[Any], batch: pa.RecordBatch, state: Any, run: Run) -> list[tuple[Any, ...]]:
    made = signal.score(batch, state, run)
    assert made.keys() == signal.makes.keys()
    columns = []
    for key, kind in signal.makes.items():
        values = made[key]
        array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
        assert len(array) == batch.num_rows
        columns.append(array.cast(kind).to_pylist())
    return [*zip(*columns, strict=True)] if columns else []


def same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b)  # NaN equals itself, 1 differs from 1.0


def readable(signal: Signal[Any], world: World) -> World:
    """The world, or the first one of a single kind that has the columns and the kind of target the signal reads."""
    for one in (world, *(world_of(kind) for kind in KINDS)):
        assert one.goal is not None
        if set(signal.needs) <= set(one.pool.column_names()) and one.goal.target.kind in signal.target_kinds:
            return one
    raise AssertionError(f"no world here has {signal.needs} and a target of kind {signal.target_kinds}")


def bare(pool: Pool) -> list[str]:
    """The columns that a pool of this kind has before any signal."""
    return [c for c in ("id", *FIELDS[pool.kind], "source", "meta") if c in pool.column_names()]


@pytest.mark.parametrize("name", of(Signal))
def test_signal_keeps_its_promises(name: str, world: World) -> None:
    signal, run = build(catalog.find(name)), Run(seed=SEED).at("signal", name)
    world = readable(signal, world)
    goal = world.goal if signal.goal_parts else None
    state = pickle.loads(pickle.dumps(signal.fit(world.pool, goal, run)))
    whole = world.pool.table([*signal.needs]).combine_chunks().to_batches()[0]
    before = whole.to_pylist()
    all_rows = rows(signal, whole, state, run)
    parts = [whole.slice(0, 25), whole.slice(25, 1), whole.slice(26, 0), whole.slice(26)]
    pieces = [row for part in parts for row in rows(signal, part, state, run)]
    assert same(all_rows, pieces), "a record's score depends on its batch"
    order = list(range(whole.num_rows))[::-1]
    turned = rows(signal, whole.take(pa.array(order)), state, run)
    assert same(all_rows, turned[::-1]), "a record's score depends on its place"
    assert whole.to_pylist() == before, "score changed its input"
    again = rows(signal, whole, signal.fit(world.pool, goal, run), run)
    assert same(all_rows, again), "the same seed gives another answer"


@pytest.mark.parametrize("name", of(Signal))
def test_signal_reads_only_what_it_needs(name: str, world: World) -> None:
    signal, run = build(catalog.find(name)), Run(seed=SEED)
    world = readable(signal, world)

    class Watched(TablePool):
        pass

    table = world.pool.table([*dict.fromkeys([*bare(world.pool), *signal.needs])])
    watched = Watched(table.select([c for c in table.column_names if "." not in c]), world.pool.kind, fragment=90)
    if all(c in watched.column_names() for c in signal.needs):
        seen: set[str] = set()
        original = watched.fragments()

        class Spy(type(original[0])):  # type: ignore[misc]
            def batches(self, columns: Any) -> Any:
                seen.update(columns)
                return super().batches(columns)

        for fragment in original:
            fragment.__class__ = Spy
        watched.fragments = lambda: original  # type: ignore[method-assign]
        signal.fit(watched, world.goal if signal.goal_parts else None, run)
        assert seen <= {*signal.needs, "id"}, "fit reads columns the signal does not declare"


@pytest.mark.parametrize("name", of(Signal))
def test_signal_survives_empty_and_single_pools(name: str, world: World) -> None:
    signal, run = build(catalog.find(name)), Run(seed=SEED)
    world = readable(signal, world)
    goal = world.goal if signal.goal_parts else None
    whole = pa.Table.from_batches(world.pool.table(bare(world.pool)).to_batches())
    for count in (0, 1):
        pool = TablePool(whole.slice(3, count), world.pool.kind)
        if not all(c in pool.column_names() for c in signal.needs):
            pytest.skip("reads another signal's columns, which a bare pool lacks")
        made = score_in_memory(signal, pool, goal, run)
        assert made.count == count
        assert name in made.schema.names


def plan_rows(plan: Plan) -> Any:
    return plan.table().to_pydict()


def filled(world: World, needs: Sequence[str]) -> World:
    """The world with numbers by lot in each signal's column that is needed and that nothing here fills, and with
    conversations where these are needed: requests for a long answer that are met or not, and plain questions."""
    pool = world.pool
    assert isinstance(pool, TablePool)
    if "messages" in needs:
        asked = [("Write 600 words.", "Rain falls. " * 300), ("Write 600 words.", "Rain falls. "), ("Rain?", "Yes.")]
        turns = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in asked]
        pool = pool.with_column(
            "messages", pa.array([turns[i % 3] for i in range(pool.count)], FIELDS["instruction"]["messages"])
        )
    for name in sorted({need.partition(".")[0] for need in needs if "." in need}):
        inner = {need.partition(".")[2] for need in needs if need.startswith(f"{name}.")}
        known = {c: pool.column(f"{name}.{c}") for c in inner if f"{name}.{c}" in pool.column_names()}
        empty = sorted(c for c in inner if c not in known or known[c].null_count == pool.count)
        if empty:
            rng = Run(seed=SEED).rng("filled", name)
            drawn = [pa.array(rng.random(pool.count)) for _ in empty]
            kept = {c: column.combine_chunks() for c, column in known.items() if c not in empty}
            pool = pool.with_column(name, pa.StructArray.from_arrays([*kept.values(), *drawn], [*kept, *empty]))
    return World(pool, world.goal)


@pytest.mark.parametrize("name", of(Policy))
def test_policy_keeps_its_promises(name: str, world: World) -> None:
    policy, run = build(catalog.find(name)), Run(seed=SEED).at("plan", 0)
    world = filled(world, policy.needs)
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    before = plan_rows(start)
    goal = world.goal.blind()
    made = policy.revise(start, world.pool, goal, run)
    assert plan_rows(start) == before, "revise changed the plan it was given"
    assert same(plan_rows(made), plan_rows(policy.revise(start, world.pool, goal, run))), "same seed, another plan"
    assert len(made.decisions) == 1
    assert made.decisions[0].policy == policy.describe()
    assert made.decisions[0].note
    assert (made.repeats >= 0).all()
    assert ((made.dropped_by == 0) == (made.repeats == 0)).all(), "every dropped record names its decision"
    twice = policy.revise(made, world.pool, goal, run.at("again"))
    assert twice.amount <= max(made.amount, goal.budget.amount * 1.05), "a second pass must not grow past the budget"
    assert isinstance(policy.worst(), type(policy))
    assert policy.worst().worst() in (policy, policy.worst())


@pytest.mark.parametrize("name", [name for name in of(Policy) if ".mix." in catalog.find(name).__module__])
def test_mixing_policy_keeps_to_the_goals_limits(name: str, world: World) -> None:
    assert world.goal is not None
    pool = world.pool
    assert isinstance(pool, TablePool)
    if len(pool.shares("source")) < 2:  # there must be something to bound
        pool = pool.with_column("source", pa.array(["one", "other", "other"] * pool.count)[: pool.count])
    free = Plan.everything(pool, world.goal.budget)
    names, natural = free.sources.names, free.mixture()
    first, last = (pick(names, key=natural.__getitem__) for pick in (min, max))
    limits = Limits(repeats=2, floor={first: natural[first] / 2}, ceiling={last: natural[last]})
    start = Plan.everything(pool, world.goal.budget, limits)
    plan = build(catalog.find(name)).revise(start, pool, world.goal.blind(), Run(seed=SEED).at("plan", 0))
    grain = start.sizes.max() * len(names) / plan.amount  # whole records are read
    assert plan.mixture()[first] >= natural[first] / 2 - grain
    assert plan.mixture()[last] <= natural[last] + grain
    assert max(plan.epochs().values()) <= 2 + 1e-9


@pytest.mark.parametrize("name", of(Transform))
def test_transform_keeps_its_promises(name: str) -> None:
    transform, run = build(catalog.find(name)), Run(seed=SEED)
    for kind in transform.reads:
        pool = world_of(kind).pool
        whole = pool.table([*transform.needs])
        before = whole.to_pylist()
        made = everything(write(transform, pool, run)).to_pylist()
        assert whole.to_pylist() == before, "apply changed its input"
        assert made == everything(write(transform, pool, run)).to_pylist(), "the same seed writes something else"
        turned = TablePool(pool.table(pool.schema.names)[::-1], kind)
        again = everything(write(transform, turned, run)).to_pylist()
        key = {row["id"]: row for row in made}
        assert key == {row["id"]: row for row in again}, "what is written depends on the order of the records"
        assert made, "nothing is written"
        ids = {*pool.column("id").to_pylist()}
        assert all(row["parents"] and {*row["parents"]} <= ids for row in made)
        assert all(row[field] is not None for row in made for field in FIELDS[transform.writes])
        for count in (0, 1):
            one = TablePool(pool.table(pool.schema.names).slice(0, count), kind)
            assert write(transform, one, run).kind == transform.writes


@pytest.mark.parametrize("name", of(OnlinePolicy))
def test_online_policy_keeps_its_promises(name: str, world: World) -> None:
    from tilth.models.influence import Known

    assert world.goal is not None
    policy, goal, run = build(catalog.find(name)), world.goal.blind(), Run(seed=SEED).at("online")
    plan = build(catalog.find("steered")).revise(Plan.everything(world.pool, goal.budget), world.pool, goal, run)
    before = plan_rows(plan)
    first = policy.start(plan, world.pool, goal, run.at("start"))
    assert plan_rows(plan) == before, "start changed the plan it was given"
    assert pickle.dumps(first) == pickle.dumps(policy.start(plan, world.pool, goal, run.at("start"))), "another start"

    def asked(step: int) -> dict[str, Any]:
        rng = run.rng("asked", step)
        assert plan.steering is not None
        aims = sorted({*plan.steering.aims})
        domains, targets = ({n: rng.standard_normal(5) for n in names} for names in (plan.moving, aims))
        seen: dict[str, Any] = {"step": step, "shares": dict(plan.moving), "tokens": {}, "losses": {}}
        if step:
            seen["tokens"] = dict.fromkeys(plan.moving, 100)
            seen["losses"] = {n: float(rng.random() + 1) for n in plan.moving}
            seen["excess"] = {n: float(rng.random()) for n in plan.moving}
        return seen | {"influence": Known.of(domains, targets, nats=rng.random(len(aims)) + 1)}

    state = first
    for step in (0, 10, 20, 30):
        kept = pickle.dumps(state)
        shares, after = policy.step(state, asked(step), run.at(step))
        assert pickle.dumps(state) == kept, "step changed the state it was given"
        assert set(shares) <= set(plan.moving)
        assert min(shares.values()) >= 0
        assert sum(shares.values()) == pytest.approx(1)
        restored = pickle.loads(kept)
        again, same_after = policy.step(restored, asked(step), run.at(step))
        assert (again, repr(same_after)) == (shares, repr(after)), "the same state and sight give another decision"
        state = after


@pytest.mark.parametrize("name", of(Proof))
def test_proof_keeps_its_promises(name: str, world: World) -> None:
    proof, run = build(catalog.find(name)), Run(seed=SEED)
    assert world.goal is not None
    if not {world.pool.kind, world.goal.holdout.kind} <= set(proof.kinds):
        world = world_of(proof.kinds[0])
    assert world.goal is not None
    plan = Plan.everything(world.pool, world.goal.budget)
    losses = proof.trial(plan, world.pool, world.goal, run)
    assert losses.shape == (world.goal.holdout.count,)
    assert np.isfinite(losses).all()
    assert proof.unit
    assert (losses > 0).all() or proof.unit != Proof.unit, "bits per byte are positive"
    assert (losses == proof.trial(plan, world.pool, world.goal, run)).all(), "the same seed gives another answer"
    assert isinstance(proof.smaller(), type(proof))
    assert proof.smaller() != proof


@pytest.mark.parametrize("name", of(Probe))
def test_probe_keeps_its_promises(name: str) -> None:
    probe = build(catalog.find(name))
    one, two, other = (pools(probe.build(60, Run(seed=seed))) for seed in (SEED, SEED, SEED + 1))
    assert one.keys() == two.keys()
    for key, pool in one.items():
        assert everything(pool).equals(everything(two[key])), f"the same seed gives another world ({key})"
        ids = pool.column("id").to_pylist()
        assert len(set(ids)) == len(ids), f"ids repeat ({key})"
    assert not everything(one["pool"]).equals(everything(other["pool"])), "the seed does nothing"
    assert "truth" in one["pool"].schema.names
    first = next(one["pool"].fragments()[0].batches(["id", *FIELDS[one["pool"].kind]]))
    assert select(first, ["text"], one["pool"].kind).num_rows


def pools(world: World) -> dict[str, Pool]:
    """Every pool of a world, by name."""
    goal = {"target": world.goal.target, "holdout": world.goal.holdout} if world.goal else {}
    return {"pool": world.pool, **world.more, **goal}


def everything(pool: Pool) -> pa.Table:
    return pool.table(pool.schema.names)
