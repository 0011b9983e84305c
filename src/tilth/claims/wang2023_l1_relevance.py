"""L1-A-MTRL (Wang et al. 2023, arXiv 2306.02556): few relevant sources instead of a little of each, in its simulator.

Twenty linear tasks on five shared directions of fifty; the target's task is a combination of three of them. Sources are
read by the policy `l1_amtrl`, by relevance of least length squared (the older strategy, from as many records), and in
equal parts. Then directions are learned on what was read and the target's head on its examples; the risk is the squared
distance of that task from the true one. All strategies share what the target's few examples leave, so two numbers of
them are tried. Two strategies that nobody has, the true combination and the lasso on true heads, tell the errors of
estimation from what cannot be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.models.relevance import fit_heads, lasso, least_norm, shared_basis
from tilth.policies.mix.l1_amtrl import L1Amtrl
from tilth.policies.mix.stratified import Stratified

__all__ = ["PAPER", "Simulator", "run"]

PAPER = "improved_active_multitask_representation_learning_via"
WIDTH, SOURCES, RANK, RELEVANT = 50, 20, 5, 3
READ = 3600
"""Records that a strategy may look at before it decides, of all sources together."""
SEEDS, FEW, MANY = 20, 40, 400
ARMS = ("lasso", "least length", "even", "true", "lasso of true heads")
Floats = npt.NDArray[np.float64]


class Simulator:
    """Tasks y = w . B x + noise of deviation 1, of `SOURCES` sources and of a target that is a combination of three.

    Attributes:
        heads: (rank, SOURCES) of length one.
        parts: (SOURCES,) the combination; 0 but for `support`.
        wanted: (WIDTH,) the target's task.
    """

    def __init__(self, run: Run, rank: int = RANK, targets: int = FEW, each: int = 2000, budget: int = 2000) -> None:
        rng = run.rng("simulator")
        self.run, self.rank = run, rank
        self.basis = np.linalg.qr(rng.normal(size=(WIDTH, rank)))[0]
        heads = rng.normal(size=(rank, SOURCES))
        self.heads = heads / np.linalg.norm(heads, axis=0)
        self.support = rng.choice(SOURCES, RELEVANT, replace=False)
        self.parts = np.zeros(SOURCES)
        self.parts[self.support] = rng.choice([-1, 1], RELEVANT) * rng.uniform(0.5, 1.5, RELEVANT)
        self.wanted = self.basis @ self.heads @ self.parts
        self.source = np.repeat(np.arange(SOURCES), each)
        self.x, self.y = _made(rng, (self.basis @ self.heads)[:, self.source])
        self.pool = self.table(self.x, self.y, self.source)
        self.tx, self.ty = _made(rng, np.repeat(self.wanted[:, None], targets, axis=1))
        target = self.table(self.tx, self.ty, np.zeros(targets, int))
        self.goal = Goal(target, target, Budget(budget, "records"))
        self.start = Plan.everything(self.pool, self.goal.budget)

    def table(self, x: Floats, y: Floats, source: npt.NDArray[np.int64]) -> TablePool:
        """Records of these vectors and labels."""
        columns = {
            "id": [f"id{i}" for i in range(len(x))],
            "text": ["x"] * len(x),
            "label": [repr(float(v)) for v in y],
            "source": [f"s{m:02d}" for m in source],
        }
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
        return TablePool(pa.table({**columns, "features": vectors}), "labeled")

    def risk(self, plan: Plan) -> float:
        """Squared distance of the target's task from the one learned on the plan's records and target's examples."""
        rows = np.repeat(np.arange(len(plan)), plan.repeats)
        basis = shared_basis(self.x[rows], self.y[rows, None], self.source[rows], SOURCES, self.rank)
        head = fit_heads(self.tx @ basis, self.ty[:, None], np.zeros(len(self.tx), int), 1)[0, :, 0]
        return float(((basis @ head - self.wanted) ** 2).sum())

    def spread(self) -> Floats:
        """(SOURCES,) the rival's shares: relevance of least length, squared, from even records."""
        each = len(self.source) // SOURCES
        rows = np.flatnonzero(np.arange(len(self.source)) % each < READ // SOURCES)
        basis = shared_basis(self.x[rows], self.y[rows, None], self.source[rows], SOURCES, self.rank)
        heads = fit_heads(self.x[rows] @ basis, self.y[rows, None], self.source[rows], SOURCES)[:, :, 0].T
        target = fit_heads(self.tx @ basis, self.ty[:, None], np.zeros(len(self.tx), int), 1)[0, :, 0]
        return np.asarray(least_norm(heads, target) ** 2)

    def planned(self, shares: npt.ArrayLike) -> Plan:
        """The plan of these shares of the sources."""
        by = self.start.sources
        named = dict(zip(by.names, np.asarray(shares, float).tolist(), strict=True))
        return self.start.mixed({"use": "claim"}, "given shares", named, by, self.run.uniform(self.start.ids, "key"))


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what is wanted, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements({number: [marks(Run(seed=s), number) for s in range(SEEDS)] for number in (FEW, MANY)})


def statements(found: Mapping[int, Sequence[Mapping[str, float]]]) -> list[dict[str, Any]]:
    """The statements, judged on what `marks` gives of each seed, for each number of the target's examples."""
    rows = []
    for number, some in found.items():
        of = {name: np.array([one[name] for one in some]) for name in some[0]}
        what = f"{number} examples of the target"
        rows.append(lab.row(f"{what}: share of the three that are among the three most relevant", "at least 0.9",
                            of["recall"], of["recall"].mean() >= 0.9))  # fmt: skip
        rows.append(lab.row("... by the lasso on true heads", "", of["recall of true heads"], None))
        for arm, most in (("least length", 0.8), ("even", 0.5)):
            ratio = float(np.median(of["lasso"]) / np.median(of[arm]))
            rows.append(lab.row(f"{what}: median risk by that of {arm}", f"at most {most}", [ratio], ratio <= most))
            for oracle in ARMS[3:]:
                rows.append(lab.row(f"... with the {oracle}" + (" combination" if oracle == "true" else ""), "",
                                    [float(np.median(of[oracle]) / np.median(of[arm]))], None))  # fmt: skip
        for arm in ARMS:
            rows.append(lab.row(f"... risk, {arm}", "", of[arm], None))
        rows.append(lab.row("... of it the part that the target's own examples leave, on true directions", "",
                            of["floor"], None))  # fmt: skip
    return rows


def marks(run: Run, targets: int) -> dict[str, float]:
    """What `statements` judges, of one seed: the risk of each arm, and how many relevant sources were named."""
    world = Simulator(run, targets=targets)
    policy = L1Amtrl(vectors="features", first=READ // SOURCES // 3, rounds=2, rank=RANK)  # a third, then two thirds
    plan = policy.revise(world.start, world.pool, world.goal, run)
    even = Stratified().revise(world.start, world.pool, world.goal, run)
    known = np.abs(lasso(world.heads, world.heads @ world.parts, policy.penalty))
    relevance = np.array([*plan.decisions[-1].details["relevance"].values()])
    head = fit_heads(world.tx @ world.basis, world.ty[:, None], np.zeros(targets, int), 1)[0, :, 0]
    plans = (plan, world.planned(world.spread()), even, world.planned(np.abs(world.parts)), world.planned(known))
    return {
        **{arm: world.risk(each) for arm, each in zip(ARMS, plans, strict=True)},
        "recall": _recall(relevance, world.support),
        "recall of true heads": _recall(known, world.support),
        "floor": float(((world.basis @ head - world.wanted) ** 2).sum()),
    }


def _recall(relevance: Floats, support: npt.NDArray[np.int64]) -> float:
    return float(np.isin(support, np.argsort(-relevance, kind="stable")[:RELEVANT]).mean())


def _made(rng: np.random.Generator, tasks: Floats) -> tuple[Floats, Floats]:
    x = rng.normal(size=(tasks.shape[1], WIDTH))
    return x, (x * tasks.T).sum(1) + rng.normal(0, 1, len(x))
