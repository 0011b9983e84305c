"""Power-law replay (Gandhi et al. 2024, arXiv 2401.10393): tasks met again as a power of their age interfere less.

Ten tasks with the same five labels; a text is twenty words drawn from its label's few words, and each task has the
words permuted in its own way: permuted digits, for text. A transformer of 1 layer learns them in sequence by plans of
`power_law_replay`, all of one budget, with replay falling as a power of a task's age, exponentially, not at all, and
none. Its accuracy on new texts of every task is taken after each. The paper learns permuted digits with perceptrons.
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
from tilth.models.continual import Tasks
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.models.transformer import Classifier
from tilth.models.tune import Texts, classify, train_classifier
from tilth.policies.order.power_law_replay import PowerLawReplay

__all__ = ["PAPER", "run"]

PAPER = "catastrophic_interference_is_mitigated_in_naturalistic"
SEEDS = 5
BUFFER = 0.25
"""What is held back of a task at most: so much that no kernel falls short, read up to four times."""
ARMS: Mapping[str, PowerLawReplay] = {
    "power": PowerLawReplay(by="task", kernel="power", buffer=BUFFER),
    "exponential": PowerLawReplay(by="task", kernel="exponential", buffer=BUFFER),
    "uniform": PowerLawReplay(by="task", kernel="uniform", buffer=BUFFER),
    "none": PowerLawReplay(by="task", kernel="none"),
    "power, the oldest most": PowerLawReplay(by="task", kernel="power", buffer=BUFFER).worst(),
}
Found = Mapping[str, float]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Tasks, texts, and the training.

    Attributes:
        peaked: of the Dirichlet distribution that a label's words are drawn from; the smaller, the fewer words.
        texts, held: of each task, to train on and held out.
        read: texts read in all, in each arm.
    """

    tasks: int = 10
    labels: int = 5
    words: int = 100
    length: int = 20
    peaked: float = 0.1
    texts: int = 1200
    held: int = 200
    read: int = 10_000
    batch: int = 16
    rate: float = 3e-3


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)], Scale())


def statements(found: Sequence[Mapping[str, Found]], scale: Scale) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str = "average") -> Floats:
        return np.array([f[arm][name] for f in found])

    over, second = of("power") - of("exponential"), of("power", "last half") - of("uniform", "last half")
    whole, chance = of("power") - of("uniform"), 1 / scale.labels
    alone = of("none", "first task")
    return [
        lab.row("mean accuracy at the end, power less exponential", "above 0 (here: at least 0.05)", over,
                over.mean() >= 0.05),
        lab.row("the last half of the tasks, power less uniform", "at least 0", second, second.mean() >= 0),
        lab.row("mean accuracy, power less uniform", "above 0", whole, lab.mean(whole)[1] > 0),
        lab.row("first task without replay", f"near chance, {chance:g} (here: at most {chance + 0.1:g})", alone,
                alone.mean() <= chance + 0.1),
        *(lab.row(f"{arm}: {name}", "", of(arm, name), None) for name in found[0]["power"] for arm in ARMS),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """What each arm has at the end: of all tasks, the first and the last half; forgetting; the share replayed."""
    pool, texts, labels = world(run, scale, scale.texts, "train")
    held = [world(run, scale, scale.held, "held", only=task)[1:] for task in range(scale.tasks)]
    goal = Goal(pool, pool, Budget(scale.read, "records"))
    found = {}
    for arm, policy in ARMS.items():
        plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, run)
        marks = learned(plan, texts, labels, held, run, scale)
        task = np.repeat(np.arange(scale.tasks), scale.texts)
        replayed = float(plan.repeats[plan.phase != task].sum() / plan.repeats.sum())
        found[arm] = {
            "average": Tasks(marks).average,
            "first task": float(marks[-1, 0]),
            "last half": float(marks[-1, scale.tasks // 2 :].mean()),
            "just learned": float(np.diag(marks).mean()),
            "forgetting": Tasks(marks).forgetting,
            "share of the reading that is replay": replayed,
        }
    return found


def world(
    run: Run, scale: Scale, count: int, part: str, only: int | None = None
) -> tuple[TablePool, Texts, npt.NDArray[np.int64]]:
    """So many texts of each task or of one, as a pool for plans, as ids, and their labels."""
    rng = run.rng("labels")
    likely = rng.dirichlet(np.full(scale.words, scale.peaked), scale.labels)
    ids, labels, names = [], [], []
    for task in range(scale.tasks) if only is None else (only,):
        turned = run.rng("task", task).permutation(scale.words)
        draws = run.rng(part, task)
        y = draws.integers(0, scale.labels, count)
        ids.append(np.stack([turned[draws.choice(scale.words, scale.length, p=likely[label])] for label in y]) + 1)
        labels.append(y)
        names += [f"task {task:02d}"] * count
    table = {"id": [f"{part}{i}" for i in range(len(names))], "text": [""] * len(names), "task": names}
    offsets = np.arange(len(names) + 1) * scale.length
    return TablePool(pa.table(table)), (offsets, np.concatenate(ids).ravel().astype(np.uint32)), np.concatenate(labels)


def learned(
    plan: Plan,
    texts: Texts,
    labels: npt.NDArray[np.int64],
    held: Sequence[tuple[Texts, npt.NDArray[np.int64]]],
    run: Run,
    scale: Scale,
) -> Floats:
    """Accuracy on each task after each phase of the plan, (tasks, tasks)."""
    order, _ = plan.reading_order(run)
    options = Options(
        rate=scale.rate, batch=scale.batch, faster=1.0, warmup=0.0, decay="constant", weight_decay=0.0
    )  # fmt: skip
    marks = []
    with threads(1):
        body = lab.decoder(1, scale.words + 1, scale.length, run, causal=False, width=64, heads=2, hidden=128)
        model = Classifier(body, scale.labels)
        for phase in range(scale.tasks):
            train_classifier(model, texts, labels, order[plan.phase[order] == phase], options)
            model.eval()
            marks.append([float((classify(model, t, batch=200).argmax(1) == y).mean()) for t, y in held])
    return np.array(marks)
