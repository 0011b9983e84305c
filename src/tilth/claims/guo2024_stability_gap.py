"""The stability gap (Guo et al. 2024, arXiv 2406.14833): a good subset several times, and the old mixture beside it.

Two invented languages over the same sixty words; in each, a word says which two may follow. A decoder of 2 layers reads
the general one, then goes on with a domain in the other, whose records are noisy to every degree. One arm reads all of
the domain once, the others have two fifths of the tokens: a plan of `stability_gap`, and that plan without one of its
three rules. Quality is the cross-entropy under bigrams of a hundred trusted records. The score is minus the loss on
held-out texts, of the general language every few steps, of the clean domain at the end; all arms train at one constant
learning rate, so that no schedule makes a dip of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.models.batches import windows
from tilth.models.continual import gap
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.train import threads, train_lm
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts
from tilth.policies.mix.stability_gap import StabilityGap

__all__ = ["PAPER", "run"]

PAPER = "efficient_continual_pretraining_by_mitigating_the"
SEEDS = 5
RULES = StabilityGap(domain=("domain",), quality="bigrams")
ARMS: Mapping[str, StabilityGap | None] = {
    "one epoch of all": None,
    "three rules": RULES,
    "without the subset": RULES.model_copy(update={"epochs": 1}),
    "without quality": RULES.model_copy(update={"quality": "lot"}),
    "without the old mixture": RULES.model_copy(update={"share": 0.99}),
}
Found = Mapping[str, float]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """The languages and the training.

    Attributes:
        records: of the domain, and of the general language for the first reading and for replay.
        length: words of a record; its end is one token more.
        first: tokens of the first reading.
        part: of the tokens of one epoch over the domain, what the other arms read.
        points: measurements on the way.
    """

    words: int = 60
    records: int = 2000
    length: int = 31
    depth: int = 2
    context: int = 64
    first: int = 150_000
    part: float = 0.4
    batch: int = 8
    rate: float = 1e-3
    held: int = 60
    points: int = 20


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str) -> npt.NDArray[np.float64]:
        return np.array([f[arm][name] for f in found])

    whole, rules = "one epoch of all", "three rules"
    dip, area = (of(rules, name) / of(whole, name) for name in ("dip", "area"))
    better = of(rules, "domain score") - of(whole, "domain score")
    back = of(whole, "recovered")
    rows = [
        lab.row("dip of the general score, three rules over one epoch", "at most 0.5", dip, dip.mean() <= 0.5),
        lab.row("area of the gap, three rules over one epoch", "at most 0.5", area, area.mean() <= 0.5),
        lab.row("domain score at the end, three rules less one epoch", "above 0", better, lab.mean(better)[1] > 0),
        lab.row("one epoch of all: share of runs that recover", "1", back, bool(back.min() == 1)),
    ]
    for arm, name in (("without the subset", "domain score"), ("without quality", "domain score"),
                      ("without the old mixture", "dip")):  # fmt: skip
        worse = (of(arm, name) - of(rules, name)) * (1 if name == "dip" else -1)
        rows.append(lab.row(f"{name}, three rules better than {arm} by", "above 0", worse, lab.mean(worse)[1] > 0))
    return [*rows, *(lab.row(f"{arm}: {name}", "", of(arm, name), None) for name in found[0][whole] for arm in ARMS)]


def measured(run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """The gap of the general score and the domain's score at the end, of each arm."""
    rules = {kind: run.rng("rules", kind).integers(0, scale.words, (scale.words, 2)) for kind in ("general", "domain")}

    def written(kind: str, part: str, noise: npt.NDArray[np.float64]) -> Ints:
        return written_by(rules[kind], noise, scale.length, run.rng(kind, part))

    clean = np.zeros(scale.records)
    noise = run.rng("noise").random(scale.records)
    new, old = written("domain", "pool", noise), written("general", "replay", clean)
    trusted = written("domain", "trusted", np.zeros(100))
    held = {kind: _texts(written(kind, "held", np.zeros(scale.held))) for kind in rules}
    pool = TablePool(
        pa.table(
            {
                "id": [f"r{i}" for i in range(2 * scale.records)],
                "text": [""] * (2 * scale.records),
                "source": ["domain"] * scale.records + ["general"] * scale.records,
                "tokens": pa.StructArray.from_arrays([pa.array([scale.length + 1] * (2 * scale.records))], ["count"]),
                "bigrams": [*bigram_losses(new, trusted, scale.words).tolist(), *clean.tolist()],
                "lot": run.rng("lot").random(2 * scale.records),
            }
        )
    )
    texts = _texts(np.concatenate([new, old]))
    found = {}
    with threads(1):
        start = lab.decoder(scale.depth, scale.words + 1, scale.context, run)
        general = _texts(written("general", "first", np.zeros(2 * scale.records)))
        lab.read(start, general, scale.first, run.at("read"), Options(rate=start.config.rate, batch=16))
        for arm, policy in ARMS.items():
            every = scale.records * (scale.length + 1)
            goal = Goal(pool, pool, Budget(every if policy is None else round(scale.part * every)))
            plan = Plan.everything(pool, goal.budget)
            if policy is None:
                plan = plan.revised({"use": "claim"}, "all", keep=np.arange(len(plan)) < scale.records)
            else:
                plan = policy.revise(plan, pool, goal, run)
            found[arm] = _trained(copy.deepcopy(start), texts, plan, held, run, scale)
    return found


def _trained(
    model: Decoder, texts: Texts, plan: Plan, held: Mapping[str, Texts], run: Run, scale: Scale
) -> dict[str, float]:
    order, _ = plan.reading_order(run)
    data = windows(*texts, order, scale.context, lab.END)
    options = Options(rate=scale.rate, batch=scale.batch, faster=1.0, warmup=0.0, decay="constant")
    before = float(lab.losses(model, held["general"]).mean())

    def measure(model: Decoder) -> npt.NDArray[np.float64]:
        return lab.losses(model, held["general"])

    trained = train_lm(model, Fixed(data, scale.batch), options, measure=measure, points=scale.points)
    assert trained.curve is not None
    scores = [-before, *(-trained.curve.losses.mean(1)).tolist()]
    found = gap([0, *trained.curve.tokens.tolist()], scores)
    return {
        "dip": found.dip,
        "area": found.area / 1000,
        "recovered": float(found.recovery is not None),
        "general score, change at the end": scores[-1] + before,
        "domain score": -float(lab.losses(model, held["domain"]).mean()),
        "tokens": float(trained.curve.tokens[-1]),
    }


def written_by(rules: Ints, noise: npt.NDArray[np.float64], length: int, rng: np.random.Generator) -> Ints:
    """Records of words numbered from 1, (records, length): each word one of two that the last allows, or any."""
    words = np.zeros((noise.size, length), np.int64)
    words[:, 0] = rng.integers(0, len(rules), noise.size)
    for t in range(1, length):
        follows = rules[words[:, t - 1], rng.integers(0, 2, noise.size)]
        words[:, t] = np.where(rng.random(noise.size) < noise, rng.integers(0, len(rules), noise.size), follows)
    return words + 1


def bigram_losses(records: Ints, trusted: Ints, words: int) -> npt.NDArray[np.float64]:
    """Nats per word of each record under the bigrams of trusted ones, one added to each count."""
    counts = np.ones((words + 1, words + 1))
    np.add.at(counts, (trusted[:, :-1].ravel(), trusted[:, 1:].ravel()), 1)
    logs = np.log(counts / counts.sum(1, keepdims=True))
    return np.asarray(-logs[records[:, :-1], records[:, 1:]].mean(1))


def _texts(records: Ints) -> Texts:
    """Records of one length as offsets and ids."""
    return np.arange(len(records) + 1) * records.shape[1], records.ravel().astype(np.uint32)
