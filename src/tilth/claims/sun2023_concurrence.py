"""Do compositionality benchmarks agree? (Sun et al. 2023, CoNLL, pp. 274-293): the source decides more than the notion.

Six small models are trained on two sources: commands of SCAN, and functions of lists of four letters
(``back : c a b d``). Each source has two splits: unseen questions like those of training, and compositions that
training never showed (a verb in a new way, a function of a list with a new first letter). The concurrence of two splits
is Kendall's tau of the two rankings of the models, each by its mean accuracy over three seeds. A third source is SCAN's
copy: every word has a new name, and one output in 20 is dealt to another command. Intervals come from every way to draw
three seeds with replacement, p-values from all 720 orders of the models. In the negative control each split ranks the
models in an order drawn by lot.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.probes.scan import interpret

__all__ = ["PAPER", "run"]

PAPER = "the_validity_of_evaluation_results"
SEEDS = 3
SPLITS = ("scan like", "scan new", "lists like", "lists new", "copy like", "copy new")
"""Source and notion of each split; ``copy`` is SCAN under other names, with noise."""
Floats = npt.NDArray[np.float64]
Exam = tuple[list[str], list[str]]
LETTERS, LENGTH = 8, 4
VERBS = ("walk", "look", "run", "jump", "hop", "swim", "nod", "kick")
MANNERS = ("", "left", "right", "opposite left", "opposite right")
TIMES = ("", "twice", "thrice")
JOINTS = ("and", "after")
FUNCTIONS: dict[str, Callable[[list[str]], list[str]]] = {
    "back": lambda items: items[::-1],
    "swap": lambda items: [items[-1], *items[1:-1], items[0]],
    "turn": lambda items: [*items[1:], items[0]],
    "halves": lambda items: [*items[2:], *items[:2]],
    "first": lambda items: [items[0], items[0], *items[2:]],
}


@dataclass(frozen=True)
class Model:
    """A shape and how it is trained."""

    depth: int = 2
    activation: str = "swiglu"
    pace: float = 1.0
    weight_decay: float = 0.1


MODELS = (
    Model(depth=1),
    Model(),
    Model(pace=2.0),
    Model(activation="gelu"),
    Model(pace=0.25),
    Model(weight_decay=1.0),
)


@dataclass(frozen=True)
class Scale:
    """Records and training.

    Attributes:
        noise: share of the copy's outputs that are dealt to other commands.
        unseen: share of phrases, or of functions and first letters, that training never has.
    """

    records: int = 1500
    steps: int = 400
    batch: int = 32
    exam: int = 100
    noise: float = 0.05
    unseen: float = 0.2


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, the value here and its interval, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = np.array([[marks(model, Run(seed=seed), scale) for model in MODELS] for seed in range(SEEDS)])
    return statements(found)


def statements(found: Floats) -> list[dict[str, Any]]:
    """The paper's statements, judged on accuracies (seeds, models, splits)."""

    def tau(kind: str) -> Callable[[Floats], float]:
        return lambda values: float(np.mean([concurrence(values, a, b) for a, b in pairs()[kind]]))

    lot = Run().rng("lot")
    drawn = np.array([[lot.permutation(values) for values in seed.T] for seed in found]).transpose(0, 2, 1)
    rows = [
        _row("tau of a split and its noisy copy", "above 0.8", found, tau("copy"), lambda v, low: v > 0.8),
        _row("the same less tau across sources", "above 0", found, lambda v: tau("copy")(v) - tau("across")(v),
             lambda v, low: low > 0),
        _row("tau of splits of one source less that of splits of one notion", "above 0", found,
             lambda v: tau("source")(v) - tau("notion")(v), lambda v, low: low > 0),
        _row("control: models in orders drawn by lot, tau of a split and its copy", "near 0 (here: within 0.5)", drawn,
             tau("copy"), lambda v, low: abs(v) <= 0.5),
    ]  # fmt: skip
    for a, b in combinations(range(len(SPLITS)), 2):
        said = f"tau, {SPLITS[a]} with {SPLITS[b]} (p {chance(found, a, b):.3f})"
        rows.append(_row(said, "", found, partial(concurrence, a=a, b=b), None))
    rows += [lab.row(f"{SPLITS[s]}, {_named(model)}: accuracy", "", found[:, m, s], None)
             for s in range(len(SPLITS)) for m, model in enumerate(MODELS)]  # fmt: skip
    return rows


def pairs() -> dict[str, list[tuple[int, int]]]:
    """Pairs of splits: of a split and its copy, one source, one notion, and of different sources."""
    out: dict[str, list[tuple[int, int]]] = {"copy": [], "source": [], "notion": [], "across": []}
    for a, b in combinations(range(len(SPLITS)), 2):
        (source, notion), (other, also) = SPLITS[a].split(), SPLITS[b].split()
        scans = {"scan", "copy"}
        if source == other:
            out["source"].append((a, b))
        elif {source, other} == scans:
            out["copy"] += [(a, b)] if notion == also else []
        else:
            out["across"].append((a, b))
            out["notion"] += [(a, b)] if notion == also else []
    return out


def concurrence(values: Floats, a: int, b: int) -> float:
    """Kendall's tau-b of two splits' rankings of the models by their mean over seeds; 0 where a split ranks nobody."""
    means = values.mean(0)
    return float(_tau(means[:, a], means[None, :, b])[0])


def chance(values: Floats, a: int, b: int) -> float:
    """The share of all orders of the models in which the tau of two splits is as large: a p-value, one-sided."""
    means = values.mean(0)
    orders = np.array([*permutations(range(len(means)))])
    return float(np.mean(_tau(means[:, a], means[orders, b]) >= concurrence(values, a, b) - 1e-9))


def _tau(one: Floats, others: Floats) -> Floats:
    """Tau-b of one ranking with each row of others."""
    left, right = (np.sign(v[..., :, None] - v[..., None, :]) for v in (one, others))
    untied = np.sqrt((left**2).sum() * (right**2).sum((1, 2)))
    return np.asarray((left * right).sum((1, 2)) / np.maximum(untied, 1))


def marks(model: Model, run: Run, scale: Scale) -> list[float]:
    """Exact match of one model on each of `SPLITS`."""
    train, like, new = commands(scale, run.rng("scan"))
    out = _after(model, train, like, new, run.at("scan"), scale)
    out += _after(model, *lists(scale, run.rng("lists")), run.at("lists"), scale)
    names = renamed([train, like, new])
    train, like, new = ((_spelt(asks, names), _spelt(says, names)) for asks, says in (train, like, new))
    chosen = run.rng("noise").permutation(len(train[1]))[: round(scale.noise * len(train[1]))].tolist()
    said = list(train[1])
    for i, j in zip(chosen, [*chosen[1:], *chosen[:1]], strict=True):
        said[i] = train[1][j]
    return out + _after(model, (train[0], said), like, new, run.at("copy"), scale)


def commands(scale: Scale, rng: np.random.Generator) -> tuple[Exam, Exam, Exam]:
    """Commands of SCAN, two phrases joined: to train on, unseen ones like them, and with phrases never trained on.

    A phrase is a verb, a manner and a number.
    """
    phrases = [" ".join(filter(None, parts)) for parts in product(VERBS, MANNERS, TIMES)]
    apart = {phrases[i] for i in rng.permutation(len(phrases))[: round(scale.unseen * len(phrases))]}

    def ask() -> tuple[str, bool]:
        two = [phrases[i] for i in rng.integers(len(phrases), size=2)]
        return f" {JOINTS[int(rng.integers(len(JOINTS)))]} ".join(two), not apart.isdisjoint(two)

    return _exams(ask, lambda asked: " ".join(interpret(asked)), scale)


def lists(scale: Scale, rng: np.random.Generator) -> tuple[Exam, Exam, Exam]:
    """Functions of lists: to train on, unseen ones like them, and functions with a first letter they never had."""
    names = sorted(FUNCTIONS)
    both = [*product(names, range(LETTERS))]
    apart = {both[i] for i in rng.permutation(len(both))[: round(scale.unseen * len(both))]}

    def ask() -> tuple[str, bool]:
        letters = rng.permutation(LETTERS)[:LENGTH].tolist()
        name = names[int(rng.integers(len(names)))]
        return " ".join([name, ":", *(f"e{i}" for i in letters)]), (name, letters[0]) in apart

    return _exams(ask, applied, scale)


def applied(asked: str) -> str:
    """The reply to a question about a list."""
    name, items = asked.split(" : ")
    return " ".join(FUNCTIONS[name](items.split()))


def _exams(ask: Callable[[], tuple[str, bool]], reply: Callable[[str], str], scale: Scale) -> tuple[Exam, Exam, Exam]:
    """Questions, none twice, dealt to training and the two exams by whether they have what training never has."""
    made: dict[bool, dict[str, str]] = {False: {}, True: {}}
    while len(made[False]) < scale.records + scale.exam or len(made[True]) < scale.exam:
        asked, new = ask()
        made[new][asked] = reply(asked)
    old, unseen = (list(made[kind].items()) for kind in (False, True))
    parts = old[scale.exam : scale.exam + scale.records], old[: scale.exam], unseen[: scale.exam]
    train, like, other = (([a for a, _ in part], [b for _, b in part]) for part in parts)
    return train, like, other


def renamed(exams: Sequence[Exam]) -> dict[str, str]:
    """Another name for every word of the questions and replies."""
    words = sorted({word for asks, says in exams for text in [*asks, *says] for word in text.split()})
    return {word: f"w{i}" for i, word in enumerate(reversed(words))}


def _spelt(texts: Sequence[str], names: dict[str, str]) -> list[str]:
    return [" ".join(names[word] for word in text.split()) for text in texts]


def _after(model: Model, train: Exam, like: Exam, new: Exam, run: Run, scale: Scale) -> list[float]:
    """Exact match on both exams after training."""
    like, new = ((asks[: scale.exam], says[: scale.exam]) for asks, says in (like, new))
    vocab = lab.Vocab.of([f" {t}" for exam in (train, like, new) for part in exam for t in part], lab.WORDS)
    with threads(1):
        learner = lab.decoder(model.depth, len(vocab), 96, run, activation=model.activation)
        options = Options(
            rate=learner.config.rate * model.pace, batch=scale.batch, weight_decay=model.weight_decay
        )  # fmt: skip
        lab.tune(learner, lab.talks(vocab, _spaced(train[0]), _spaced(train[1])), scale.steps, run, options)
        longest = max(len(reply.split()) for reply in [*train[1], *new[1]]) + 1
        out = []
        for asks, says in (like, new):
            said = lab.answers(learner, vocab, _spaced(asks), longest)
            out.append(float(np.mean([a.strip() == b for a, b in zip(said, says, strict=True)])))
    return out


def _spaced(texts: Sequence[str]) -> list[str]:
    return [f" {text}" for text in texts]


def _named(model: Model) -> str:
    return f"depth {model.depth}, {model.activation}, rate x {model.pace:g}, decay {model.weight_decay:g}"


def _row(
    statement: str,
    paper: str,
    found: Floats,
    of: Callable[[Floats], float],
    judge: Callable[[float, float], bool] | None,
) -> dict[str, Any]:
    """A line of the table; its interval is of 95 % of all draws of the seeds with replacement."""
    value = of(found)
    draws = [of(found[list(seeds)]) for seeds in product(range(len(found)), repeat=len(found))]
    low, high = (float(q) for q in np.quantile(draws, [0.025, 0.975]))
    holds = "-" if judge is None else "yes" if judge(value, low) else "no"
    return {"statement": statement, "paper": paper, "here": f"{value:.3f} ({low:.3f} to {high:.3f})", "holds": holds}
