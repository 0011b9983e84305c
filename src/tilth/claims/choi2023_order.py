"""Order Matters in the Presence of Dataset Imbalance (Choi et al. 2023, arXiv 2312.06134): the scarce one comes late.

English novels and German law, a hundred times as much of the first. The policy `two_phase` reads novels alone, then
both; it races static mixtures of the same size, which give the scarce source from 1 % to half of all that is read. A
static mixture trades one loss for the other; `two_phase` wins where its loss on law is below what the static ones reach
at its loss on novels. Control: the same records, the mixed phase first. All arms are run twice: with one learning rate
that falls over everything, as a plan's proof has it, and with one that rises and falls again after the turn, in static
mixtures, too. The paper trains translation and multilingual models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.models.batches import reading_order, windows, windows_to_score
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.train import bits_per_byte, threads, train_lm
from tilth.policies.mix.two_phase import TwoPhase
from tilth.proofs._text import scored_items, texts_of, tokenizer_for

__all__ = ["PAPER", "run"]

PAPER = "order_matters_in_the_presence_of"
PLENTY, SCARCE = "fiction_novels", "law_german"
STATIC = (0.01, 0.03, 0.07, 0.15, 0.3, 0.5)
"""Shares of the scarce source in static mixtures."""
LATE = (0.1, 0.2, 0.4)
"""Its shares of the second phase."""
TURN = 0.7
CAP = 60.0
"""Most epochs: half of everything is thirty-odd readings of the scarce source."""
SEEDS = 4
SCHEDULES = {"one schedule": False, "a second one after the turn": True}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Texts, and how much is read.

    Attributes:
        plenty, scarce: texts of each source in the pool.
        items: texts of each that are held out.
        budget: what is read, as a share of the pool.
    """

    plenty: int = 1000
    scarce: int = 10
    items: int = 60
    longest: int = 600
    budget: float = 0.6
    depth: int = 1
    vocab: int = 1024
    context: int = 64
    batch: int = 8


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a source's file is missing.
    """
    texts = lab.texts(data, PLENTY, SCARCE)
    return statements([marks(texts[0], texts[1], Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Floats]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    rows = []
    for when in SCHEDULES:
        static = np.array([[one[f"{when}: static {share:g}"] for share in STATIC] for one in found])

        def over(name: str, static: Floats = static, when: str = when) -> Floats:
            """By how much an arm is worse on law than static mixtures where they are as good on novels."""
            arms = [one[f"{when}: {name}"] for one in found]
            return np.array([arm[1] - at_same(s, arm[0]) for s, arm in zip(static, arms, strict=True)])

        for share in LATE:
            less, late = over(f"late {share:g}"), np.array([one[f"{when}: late {share:g}"] for one in found])
            what = f"{when}, {share:.0%} law in the second phase: loss on law less that of static mixtures as good"
            rows.append(lab.row(what, "below 0", less, lab.mean(less)[2] < 0))
            for side, name in enumerate(("novels", "law")):
                lowest = late[:, side] - static[..., side].min(1)
                rows.append(lab.row(f"... loss on {name} less the lowest of static mixtures", "", lowest, None))
            rows.append(lab.row("... readings of the scarce source", "", late[:, 2], None))
        less = over("turned round")
        what = f"{when}, control: {LATE[-1]:.0%} law in the first phase, none in the second"
        rows.append(lab.row(what, "above 0", less, lab.mean(less)[1] > 0))
        for i, share in enumerate(STATIC):
            rows.append(lab.row(f"{when}, static, {share:.0%} law: loss on novels", "", static[:, i, 0], None))
            rows.append(lab.row("... on law", "", static[:, i, 1], None))
            rows.append(lab.row("... readings of the scarce source", "", static[:, i, 2], None))
    return rows


def at_same(static: Floats, plenty: float) -> float:
    """What static mixtures lose on the scarce source where they lose `plenty` on the other.

    On straight lines between those that no other beats on both; beyond the ends, the end's.

    Args:
        static: (mixtures, 2 or more): loss on the plentiful and on the scarce source.

    >>> at_same(np.array([[1.0, 5.0], [2.0, 3.0], [1.5, 6.0]]), 1.5)
    4.0
    """
    rows = static[np.argsort(static[:, 0], kind="stable")]
    front = [row for i, row in enumerate(rows) if i == 0 or row[1] < rows[:i, 1].min()]
    return float(np.interp(plenty, [row[0] for row in front], [row[1] for row in front]))


def marks(plenty: Sequence[str], scarce: Sequence[str], run: Run, scale: Scale) -> dict[str, Floats]:
    """What `statements` judges, of one seed: of each arm two losses in bits per byte, and readings of the scarce."""
    pool, goal = world(plenty, scarce, run, scale)
    start = Plan.everything(pool, goal.budget)
    keys, use = run.uniform(start.ids, "key"), {"use": "claim"}
    plans = {
        f"static {share:g}": start.mixed(use, "static", {PLENTY: 1 - share, SCARCE: share}, start.sources, keys, CAP)
        for share in STATIC
    }
    policies = {
        f"late {share:g}": TwoPhase(late=(SCARCE,), before=0.0, after=share, turn=TURN, cap=CAP) for share in LATE
    }
    policies["turned round"] = policies[f"late {LATE[-1]:g}"].worst()
    plans |= {name: policy.revise(start, pool, goal.blind(), run) for name, policy in policies.items()}
    rare = np.array(pool.column("source").to_pylist()) == SCARCE
    source = np.array(goal.holdout.column("source").to_pylist())
    out = {}
    for when, again in SCHEDULES.items():
        for name, plan in plans.items():
            losses = trained(plan, pool, goal, run.at("trial"), scale, again)
            sides = [losses[source == side].mean() for side in (PLENTY, SCARCE)]
            out[f"{when}: {name}"] = np.array([*sides, plan.repeats[rare].mean()])
    return out


def trained(plan: Plan, pool: TablePool, goal: Goal, run: Run, scale: Scale, again: bool) -> Floats:
    """Bits per byte of the held-out texts after all of the plan was read, in its phases.

    Args:
        again: the learning rate rises and falls again after the turn: where the plan's second phase begins, and in a
            plan without phases after as large a part of it.
    """
    tokenizer = tokenizer_for(pool, scale.vocab)
    rows = np.flatnonzero(plan.kept)
    offsets, ids = tokenizer.encode_batch(texts_of(pool, rows))
    order = reading_order(plan.repeats[rows], run.rng("order"), plan.phase[rows])
    parts = [order]
    if again:
        first = plan.phase[rows][order] == 0
        ends = np.cumsum(np.diff(offsets)[order] + 1)
        parts = np.split(order, [int(first.sum()) if not first.all() else int(np.searchsorted(ends, TURN * ends[-1]))])
    items = scored_items(goal.holdout, tokenizer, scale.longest, scale.context)
    with threads(1):
        model = lab.decoder(scale.depth, tokenizer.vocab_size, scale.context, run)
        options = Options(rate=model.config.rate, batch=scale.batch)
        for part in parts:
            train_lm(model, Fixed(windows(offsets, ids, part, scale.context, lab.END), scale.batch), options)
        held = windows_to_score(items.offsets, items.ids, scale.context, lab.END)
        return bits_per_byte(model.eval(), held, items.size)


def world(plenty: Sequence[str], scarce: Sequence[str], run: Run, scale: Scale) -> tuple[TablePool, Goal]:
    """A pool with a hundred times as much of one source, and held-out texts of both."""
    pool: list[tuple[str, str]] = []
    held: list[tuple[str, str]] = []
    for name, texts, count in ((PLENTY, plenty, scale.plenty), (SCARCE, scarce, scale.scarce)):
        long = list(dict.fromkeys(t[-scale.longest :] for t in texts if len(t) >= scale.longest))
        order = run.rng("texts", name).permutation(len(long))
        held += [(name, long[i]) for i in order[: scale.items]]
        pool += [(name, long[i]) for i in order[scale.items : scale.items + count]]
    items = _table(held)
    whole = _table(pool)
    tokens = sum(row["count"] for row in whole.column("tokens").to_pylist())
    return whole, Goal(items, items, Budget(int(scale.budget * tokens)))


def _table(rows: Sequence[tuple[str, str]]) -> TablePool:
    sizes = [{"count": max(1, len(text.encode()) // 4)} for _, text in rows]
    columns = {
        "id": [f"{name}:{i}" for i, (name, _) in enumerate(rows)],
        "text": [text for _, text in rows],
        "source": [name for name, _ in rows],
        "tokens": pa.array(sizes, pa.struct([("count", pa.int32())])),
    }
    return TablePool(pa.table(columns))
