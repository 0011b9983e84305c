"""From a recipe to a proven training set: the stages, each skipped when it is already done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tilth import __version__, catalog
from tilth.core.errors import BadInput, BadRecipe, EmptyPlan, MissingExtra, Overlap, PoolError, TilthError
from tilth.core.goal import Budget, Goal
from tilth.core.method import digest
from tilth.core.plan import Plan
from tilth.core.policy import OnlinePolicy, Policy
from tilth.core.pool import TablePool
from tilth.core.proof import Proof
from tilth.core.records import Kind, schema
from tilth.core.run import Run
from tilth.core.signal import Signal
from tilth.engine.apply import apply, signal_state
from tilth.engine.evidence.variance import Variance, variance
from tilth.engine.imports import Files, import_files
from tilth.engine.local import Workers, write_atomic
from tilth.engine.prove import Verdict, length_matched, prove, reason
from tilth.engine.store import StoredPool, locked
from tilth.io.detect import Layout, detect
from tilth.io.importer import chunks, sample
from tilth.io.reader import Bad, expand, open_reader
from tilth.recipe import Recipe

__all__ = ["Build"]

NOTHING = 0.02  # L1 distance of shares below which weights do nothing
DECONTAMINATE = "not contamination.hit"


@dataclass
class Build:
    """One recipe, one output folder. Every stage is a property: asking for one runs what it stands on.

    Attributes:
        base: folder that the recipe's paths are relative to.
        out: folder for the pool, the plan, the proof, the exports and the report.
        more_needs: columns that something beside the recipe's own plan and proof would read, such as a tournament. A
            signal that only they need may fail: it is left out and named in `unmade`.
        unmade: signal -> why it is missing.
        say: called with one line per finished stage.
    """

    recipe: Recipe
    base: Path
    out: Path
    workers: Workers
    strict: bool = False
    wait: float = 0.0
    device: str = "cpu"
    more_needs: tuple[str, ...] = ()
    unmade: dict[str, str] = field(default_factory=dict, init=False)
    say: Callable[[str], None] = field(default=lambda line: None)
    _own: frozenset[str] = field(default=frozenset(), init=False, repr=False)

    # ---- import ------------------------------------------------------------------------------

    @cached_property
    def run(self) -> Run:
        """The world every method of this build sees."""
        return Run(
            seed=self.recipe.seed,
            device=self.device,
            scratch=self.out / "unfinished",
            progress=self.workers.progress,
            mapper=self.workers.map,
        )

    @cached_property
    def files(self) -> list[Files]:
        """The files of every source with their field mapping.

        Raises:
            BadInput: when a pattern matches nothing or a kind cannot be told.
            BadRecipe: when sources are of different kinds.
        """
        out = []
        for name, source in self.recipe.sources.items():
            paths = [path for pattern in source.paths for path in expand(pattern, self.base)]
            layout = _layout(name, paths, source.kind, source.fields)
            defaults = {"license": source.license} if source.license else {}
            out.append(Files(name, tuple(paths), layout, defaults))
        kinds = {f.source: f.layout.kind for f in out}
        if len(set(kinds.values())) > 1:
            told = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
            raise BadRecipe(
                f"A plan is over one kind of record, and these sources differ ({told}). "
                f"State `kind:` where the detection is wrong, or write one recipe per kind."
            )
        return out

    @cached_property
    def kind(self) -> Kind:
        """The kind of the pool's records."""
        return self.files[0].layout.kind

    @cached_property
    def imported(self) -> StoredPool:
        """The pool, without signals of this build."""
        pool = import_files(self.files, self.kind, self.out / "pool", self.workers, strict=self.strict, wait=self.wait)
        origin = pool.origin
        notes = f", {origin['quarantined']:,} quarantined" if origin["quarantined"] else ""
        notes += f", {origin['renamed_ids']:,} repeated ids renamed" if origin["renamed_ids"] else ""
        self.say(f"import   {pool.count:,} records of {len(self.files)} sources{notes}")
        return pool

    @cached_property
    def goal(self) -> Goal | None:
        """Target, holdout and budget.

        Raises:
            Overlap: when target and holdout share items.
        """
        spec = self.recipe.goal
        if spec is None:
            return None
        goal = Goal(self._examples("target"), self._examples("holdout"), Budget.parse(spec.budget), spec.bounds)
        from tilth.signals.audit.contamination import overlapping

        sides = [("target", "holdout", goal.target, goal.holdout), ("holdout", "target", goal.holdout, goal.target)]
        for one, other, a, b in sides:  # a short item may lie inside a long one of either side
            shared = overlapping(a, b)
            if len(shared):
                first = shared.slice(0, 3).to_pylist()
                pairs = "; ".join(f"{p['a_id']} / {p['b_id']} ({p['overlap']:.0%})" for p in first)
                raise Overlap(
                    f"{len(shared)} items of the {one} contain most of an item of the {other}, so a proof would "
                    f"measure copying. Remove them from one side: {pairs}{' ...' if len(shared) > 3 else ''}."
                )
        return goal

    def _examples(self, part: str) -> TablePool:
        spec = self.recipe.goal
        assert spec is not None
        tables = []
        for name, item in spec.files(part).items():  # type: ignore[arg-type]
            paths = expand(item.path, self.base)
            layout = _layout(f"goal.{part}", paths, None, {})
            for path in paths:
                for chunk in chunks(path, layout, f"{part}/{name}", {}):
                    if chunk.quarantine:
                        bad = chunk.quarantine[0]
                        raise BadRecipe(f"goal.{part}: {bad['file']}, line {bad['line']}: {bad['reason']}.")
                    table = chunk.table
                    table = table.append_column("goal", pa.array([name] * len(table), pa.string()))
                    tables.append(table.append_column("weight", pa.array([item.weight] * len(table), pa.float64())))
        kind = layout.kind
        whole = pa.concat_tables(tables) if tables else schema(kind).empty_table()
        if len(whole) == 0:
            raise BadRecipe(f"goal.{part} has no items; give a file with at least 2 (30 or more for a clear verdict).")
        return TablePool(whole, kind)

    def state_of(self, name: str) -> Any:
        """What a signal of this build learnt, or None when the build has no such signal."""
        return signal_state(self.pool, name) if name in self.signals else None

    # ---- measure -----------------------------------------------------------------------------

    @cached_property
    def signals(self) -> dict[str, Signal[Any]]:
        """Column name -> signal, in the order they are computed: those asked for, and those others need."""
        chosen: dict[str, Signal[Any]] = {}
        for spec in self.recipe.signals:
            spec = dict(spec)
            alias = spec.pop("as", None)
            signal = catalog.build(spec)
            if not isinstance(signal, Signal):
                raise BadRecipe(f"signals: {signal.name()!r} is a {signal.noun()}, not a signal.")
            chosen[alias or signal.name()] = signal
        ordered: dict[str, Signal[Any]] = {}

        def add(name: str, path: tuple[str, ...]) -> None:
            if name in ordered:
                return
            if name in path:
                raise BadRecipe(f"Signals need each other in a circle: {' -> '.join((*path, name))}.")
            signal = chosen[name] if name in chosen else catalog.build(name)
            for column in signal.needs:
                need(column, (*path, name))
            ordered[name] = signal

        def need(column: str, path: tuple[str, ...]) -> None:
            top = column.partition(".")[0]
            known = catalog.names().get(top, "")
            if top in chosen or known.startswith("tilth.signals."):
                add(top, path)

        for name in chosen:
            add(name, ())
        budget = self.goal.budget if self.goal else None
        if budget and budget.unit == "tokens":
            need("tokens.count", ())
        if self.goal and self.recipe.decontaminate:
            need("contamination.hit", ())
        columns = [c for p in self.policies for c in p.needs] + list(self.proof.needs if self.proof else ())
        for column in columns:
            need(column, ())
        self._own = frozenset(ordered)
        for column in self.more_needs:
            try:
                need(column, ())
            except TilthError as error:
                self.unmade[column.partition(".")[0]] = str(error)
        return ordered

    def must_have(self, name: str) -> bool:
        """Whether the recipe itself needs this signal, so that its failure stops the build."""
        return name in self.signals and name in self._own

    @cached_property
    def pool(self) -> StoredPool:
        """The pool with every signal of this build."""
        pool = self.imported
        for name, signal in self.signals.items():
            before = pool.version
            try:
                pool = apply(signal, pool, self.goal, self.run, self.workers, name)
            except PoolError:
                raise
            except Exception as error:
                if self.must_have(name):
                    raise
                self.unmade[name] = reason(error)
                self.say(f"signal   {name} is left out: {self.unmade[name]}")
                continue
            self.say(f"signal   {name}" + ("" if pool.version != before else " (already there)"))
        return pool

    # ---- decide ------------------------------------------------------------------------------

    @cached_property
    def policies(self) -> list[Policy]:
        """The recipe's plan, as policies."""
        policies = [catalog.build(spec) for spec in self.recipe.plan]
        for policy in policies:
            if isinstance(policy, OnlinePolicy):
                name = policy.name()
                raise BadRecipe(f"plan: {name!r} decides while training. Write {{use: steered, policy: {name}}}.")
            if not isinstance(policy, Policy):
                raise BadRecipe(f"plan: {policy.name()!r} is a {policy.noun()}, not a policy.")
        return policies

    @cached_property
    def start(self) -> Plan:
        """Every record once that may be read, less what overlaps the holdout: where the plan and its rivals begin."""
        goal = self.needed_goal()
        plan = Plan.everything(self.pool, goal.budget, goal.limits)
        if goal.limits.licenses is not None:
            plan = self._licensed(plan, goal.limits.licenses)
        if self.recipe.decontaminate:
            keep = catalog.build({"use": "keep", "where": DECONTAMINATE, "unknown": "keep"})
            plan = keep.revise(plan, self.pool, goal.blind(), self.run.at("decontaminate"))
        return plan

    def _licensed(self, plan: Plan, allowed: Sequence[str]) -> Plan:
        column = pc.cast(self.pool.column("license"), pa.string())
        keep = pc.fill_null(pc.is_in(column, pa.array(allowed, pa.string())), False).to_numpy(zero_copy_only=False)
        if not keep.any():
            found = pc.unique(pc.fill_null(column, "none stated")).to_pylist()
            raise BadRecipe(
                f"goal.limits.licenses allows {', '.join(allowed)}, and the pool's records have "
                f"{', '.join(map(str, found[:10]))}. State each source's `license:` where the files do not."
            )
        note = f"license is {' or '.join(allowed)}: {int(keep.sum()):,} of {keep.size:,} records"
        return plan.revised({"use": "limits"}, note, keep=keep, reason="its licence is not among those the goal allows")

    def planned(self, policies: Sequence[Policy], place: str, begin: Plan | None = None, first: int = 0) -> Plan:
        """The plan after these policies; what is over the budget is cut at random, last.

        Args:
            place: names where in the run the policies draw their random numbers.
            begin: the plan they start from, `start` by default.
            first: the number of the first of them, when others came before.
        """
        plan = self.start if begin is None else begin
        return self.within_budget(self.revised(plan, policies, place, first), place)

    def revised(self, plan: Plan, policies: Sequence[Policy], place: str, first: int = 0) -> Plan:
        """The plan after these policies, as large as they leave it."""
        for number, policy in enumerate(policies, first):
            self.pool.require(policy.needs, policy.name())
            before, plan = plan, policy.revise(plan, self.pool, self.needed_goal().blind(), self.run.at(place, number))
            if policy.worst() != policy and plan.requested != before.requested and _is_natural(plan, before):
                plan = plan.warned(f"it gives every {plan.by} its natural share: its weights do nothing")
        return plan

    def within_budget(self, plan: Plan, place: str) -> Plan:
        """The plan, cut at random where it is over the budget."""
        goal = self.needed_goal()
        if plan.amount <= goal.budget.amount * 1.001:
            return plan
        cut: Plan = catalog.build("random").revise(plan, self.pool, goal.blind(), self.run.at(place, "budget"))
        return cut

    @cached_property
    def plan(self) -> Plan:
        """The recipe's plan, from disk when nothing it depends on has changed."""
        folder = self.out / "plan"
        made_from = digest(
            [
                [p.fingerprint() for p in self.policies],
                [[n, self.pool.column_fingerprint(n)] for n in self.signals],
                self.pool.fingerprint,
                self.needed_goal().fingerprint,
                self.recipe.decontaminate,
                self.recipe.seed,
            ]
        )
        mark = folder / "made_from"
        if mark.exists() and mark.read_text() == made_from and (folder / "plan.json").exists():
            plan = Plan.load(folder)
            self.say(f"plan     {int(plan.kept.sum()):,} records, {plan.amount:,} {plan.budget.unit} (already there)")
            return plan
        mark.unlink(missing_ok=True)
        plan = self.planned(self.policies, "plan")
        plan.save(folder)
        write_atomic(mark, made_from.encode())
        self.say(f"plan     {int(plan.kept.sum()):,} records, {plan.amount:,} of {plan.budget}")
        for decision in plan.decisions:
            for warning in decision.warnings:
                self.say(f"warning  {decision.policy.get('use')}: {warning}")
        return plan

    def needed_goal(self) -> Goal:
        """The goal.

        Raises:
            BadRecipe: when the recipe states none.
        """
        if self.goal is None:
            raise BadRecipe("A plan needs a goal: state goal: {target: ..., holdout: ..., budget: 20M tokens}.")
        return self.goal

    # ---- prove -------------------------------------------------------------------------------

    @cached_property
    def proof(self) -> Proof | None:
        """The recipe's proof."""
        if self.recipe.proof is None:
            return None
        proof = catalog.build(self.recipe.proof.method)
        if not isinstance(proof, Proof):
            raise BadRecipe(f"proof: {proof.name()!r} is a {proof.noun()}, not a proof.")
        if proof.extra and find_spec(proof.extra) is None:
            raise MissingExtra(
                f"{proof.name()} needs {proof.extra}. Install it: pip install 'tilth[{proof.extra}]'; or state "
                f"proof: ngram, which needs nothing more."
            )
        return proof

    def baselines(self) -> tuple[dict[str, Plan], dict[str, str]]:
        """Name -> rival plan, and name -> why a rival could not be made."""
        assert self.recipe.proof is not None
        rivals: dict[str, Plan] = {}
        missing: dict[str, str] = {}
        for spec in self.recipe.proof.against:
            name = spec if isinstance(spec, str) else str(spec.get("use"))
            try:
                if name == "length_matched":
                    rivals[name] = length_matched(self.plan, self.start, self.run.at("against"))
                elif name == "worst":
                    opposite = [policy.worst() for policy in self.policies]
                    if opposite == self.policies:
                        missing[name] = "no policy of the plan has an opposite"
                    else:
                        rivals[name] = self.planned(opposite, "plan")
                else:
                    rivals[name] = self.planned([catalog.build(spec)], f"against {name}")
            except EmptyPlan as error:
                missing[name] = str(error)
        return rivals, missing

    @cached_property
    def verdict(self) -> Verdict:
        """The plan against its rivals."""
        if self.recipe.proof is None or self.proof is None:
            raise BadRecipe("The recipe has no proof: state proof: {use: ngram, seeds: 5}.")
        rivals, missing = self.baselines()
        verdict = prove(
            self.proof,
            self.plan,
            rivals,
            self.pool,
            self.needed_goal(),
            self.out / "proof",
            seeds=self.recipe.proof.seeds,
            run=self.run,
            workers=self.workers,
            missing=missing,
        )
        text = json.dumps(verdict.as_dict(), indent=1)
        write_atomic(self.out / "proof" / "verdict.json", text.encode())
        return verdict

    def variance(self, *, init: int = 3, order: int = 3, subset: int = 3) -> Variance:
        """Where the noise of the plan's trials comes from; see `engine.evidence.variance`."""
        if self.proof is None:
            raise BadRecipe("The recipe has no proof whose noise could be split: state proof: {use: ngram, seeds: 5}.")
        return variance(
            self.proof,
            self.plan,
            self.pool,
            self.needed_goal(),
            self.out / "proof",
            init=init,
            order=order,
            subset=subset,
            run=self.run,
            workers=self.workers,
        )

    # ---- export ------------------------------------------------------------------------------

    def records(self) -> Iterator[pa.RecordBatch]:
        """The plan's records in reading order, with ``phase`` and ``copy``, a few thousand at a time.

        Of a conditioned plan also with ``prefix``, what is read before the record without being learned; of a weighted
        one with ``weight``, how much its loss counts at first.
        """
        conditioning, weights = self.plan.conditioning, self.plan.weights
        rows, copies = self.plan.reading_order(self.run.at("order"))
        names = schema(self.kind).names
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            table = self.pool.take(part, names)
            table = table.append_column("phase", pa.array(self.plan.phase[part]))
            table = table.append_column("copy", pa.array(copies[start : start + 4096]))
            if conditioning is not None:
                prefixes = pa.array([prefix or None for prefix in conditioning.prefixes], pa.string())
                table = table.append_column("prefix", prefixes.take(pa.array(conditioning.tags.index[part])))
            if weights is not None:
                table = table.append_column("weight", pa.array(weights.first[part]))
            yield table.combine_chunks().to_batches()[0]

    def provenance(self) -> dict[str, Any]:
        """What the exports were made from; no clock and no machine in it, so equal inputs give equal bytes."""
        goal = self.needed_goal()
        return {
            "tilth": __version__,
            "recipe": self.recipe.model_dump(mode="json"),
            "seed": self.recipe.seed,
            "inputs": [
                dict(zip(("source", "file", "bytes", "sha256"), f, strict=True)) for f in self.imported.origin["files"]
            ],
            "goal": goal.fingerprint,
            "signals": {
                n: {"made_from": self.pool.column_fingerprint(n)} | s.describe() for n, s in self.signals.items()
            },
            "plan": self.plan.header(),
        }

    @cached_property
    def exported(self) -> list[Path]:
        """One folder per format."""
        from tilth.export import export

        out = []
        for spec in self.recipe.export:
            folder = self.out / "export" / spec.use
            temporary = folder.with_name(f"{spec.use}.tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            export(self, spec.use, temporary, spec.tokenizer)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
            self.say(f"export   {spec.use}: {folder}")
            out.append(folder)
        return out

    # ---- all of it ---------------------------------------------------------------------------

    def all(self) -> dict[str, Any]:
        """Every stage the recipe names; returns what ``build.json`` says."""
        from tilth.report.page import write_report

        proof = self.proof  # what it lacks is said before anything is done
        self.pool  # noqa: B018
        summary: dict[str, Any] = {"records": self.imported.count}
        if self.goal is not None:
            summary["plan"] = {"records": int(self.plan.kept.sum()), "amount": self.plan.amount}
        if proof is not None:
            summary["verdict"] = self.verdict.headline
        summary["exports"] = [str(p) for p in self.exported]
        summary["report"] = str(write_report(self))
        return summary

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold the output folder's lock and the processes; at the end sweep up what killed runs left half-written."""
        with self.workers, locked(self.out, self.wait):
            yield
            shutil.rmtree(self.out / "unfinished", ignore_errors=True)
            for stale in sorted(self.out.rglob("*.tmp")):
                if stale.is_dir():
                    shutil.rmtree(stale, ignore_errors=True)
                else:
                    stale.unlink(missing_ok=True)


def _is_natural(plan: Plan, before: Plan) -> bool:
    """Whether the shares of the sources that were asked for are those that there were."""
    if plan.by != plan.sources.by:
        return False
    there = plan.sources.sums(before.sizes * before.kept)
    asked = np.array([plan.requested.get(name, 0.0) for name in plan.sources.names])
    return bool(np.abs(asked - there / max(there.sum(), 1)).sum() < NOTHING)


def _layout(name: str, paths: list[Path], kind: str | None, fields: Mapping[str, str]) -> Layout:
    """The layout of a source's files, from the first one that has rows."""
    for path in paths:
        if rows := sample(path):
            return detect(rows, kind, fields)
    why = next((item.reason for item in open_reader(paths[0])(paths[0]) if isinstance(item, Bad)), "it is empty")
    raise BadInput(f"{name}: none of its {len(paths)} files has a readable record. {paths[0]}: {why}.")
