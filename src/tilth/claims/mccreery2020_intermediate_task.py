"""Matching answers first, then telling like questions (McCreery et al. 2020, arXiv 2008.13546), in miniature.

A question asks for three concepts, each under one of its three names, with words of its category and of no meaning; an
answer has two names of each. Two questions ask the same where their concepts are the same. Pairs of questions share
none, one or two names whether they ask the same or not, so shared words tell nothing: what remains must be known to be
names of one concept, and 200 labelled pairs show few of them. Answers show all. The transform `qa_match_pairs` writes
pairs of question and answer, the policy `intermediate_task` reads them first, once, and the labelled pairs second, many
times; a bi-encoder of one layer gets a new last layer between the two. No triple of concepts of the test is in either.

Controls: the labelled pairs alone, as long as in the second phase and as long as everything; labels of the first phase
dealt at random; wrong answers from any category; answers about other concepts; the phases turned round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.records import MESSAGES
from tilth.engine.write import write
from tilth.models.optim import Options
from tilth.models.train import threads, train_examples
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts, padded_to
from tilth.policies.order.intermediate_task import IntermediateTask
from tilth.transforms.augment.qa_match_pairs import QaMatchPairs

__all__ = ["PAPER", "run"]

PAPER = "effective_transfer_learning_for_identifying_similar"
SEEDS = 4
GAIN = 0.05
NONE = 0.02  # what counts as no gain
TARGET = "pairs"
ALONE = ("pairs alone", "pairs alone, as many readings")
FIRST = ("answers first", "labels dealt", "any negatives", "other concepts", "turned round")
NAMES = 3
Found = Mapping[str, float]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """The world and the training.

    Attributes:
        concepts: of each of two halves; questions of the test are about the first.
        questions: with an answer; twice as many pairs are written of them.
        pairs, test: of questions, half of which ask the same.
        epochs: readings of the labelled pairs.
        slower: rate of a second phase, relative to the first.
    """

    concepts: int = 24
    categories: int = 8
    questions: int = 8_000
    pairs: int = 200
    test: int = 600
    epochs: int = 20
    batch: int = 32
    width: int = 64
    rate: float = 3e-3
    slower: float = 0.3


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Found]) -> list[dict[str, Any]]:
    """The statements, judged on the accuracies that `measured` gives of each seed; the better of `ALONE` counts."""

    def of(name: str) -> Floats:
        return np.array([one[name] for one in found])

    alone = np.maximum(*map(of, ALONE))
    gain = of("answers first") - alone

    def above(name: str) -> dict[str, Any]:
        less = of("answers first") - of(name)
        return lab.row(f"answers first less {name}", "above 0", less, lab.mean(less)[1] > 0)

    def no_gain(name: str) -> dict[str, Any]:
        less = of(name) - alone
        return lab.row(f"{name} less pairs alone", f"no gain (here: below {NONE})", less, less.mean() < NONE)

    return [
        lab.row("answers first less pairs alone", f"at least {GAIN}", gain,
                gain.mean() >= GAIN and lab.mean(gain)[1] > 0),
        above("other concepts"),
        above("any negatives"),
        no_gain("labels dealt"),
        no_gain("turned round"),
        *(lab.row(f"accuracy on pairs, {name}", "", of(name), None) for name in (*ALONE, *FIRST)),
        *(lab.row(f"accuracy on answers of the same category after the first phase, {name}", "",
                  of(f"answers, {name}"), None) for name in FIRST[:-1]),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, float]:
    """The accuracy of each arm on pairs of questions, and of those that match answers first on answers."""
    rng = run.rng("world")
    tested = triples(rng, scale, scale.test, set())
    held = {tuple(sorted(one)) for one in tested.tolist()}
    test = of_questions(rng, scale, tested)
    some = of_questions(rng, scale, triples(rng, scale, scale.pairs, held))
    vocab = lab.Vocab.of(every_word(scale), r"\w+")
    corpora = {name: asked(rng, scale, triples(rng, scale, scale.questions, held), far)
               for name, far in (("near", False), ("far", True))}  # fmt: skip
    seen = write(QaMatchPairs(), asked(rng, scale, tested, False), run)
    check = {"text": seen.column("text").to_pylist(), "label": seen.column("label").to_pylist()}
    written = {
        "answers first": write(QaMatchPairs(), corpora["near"], run),
        "any negatives": write(QaMatchPairs(negatives="any"), corpora["near"], run),
        "other concepts": write(QaMatchPairs(), corpora["far"], run),
    }
    near = written["answers first"]
    dealt = pa.array(rng.permutation(near.column("label").to_pylist()).tolist(), pa.string())
    written |= {"labels dealt": near.with_column("label", dealt), "turned round": near}
    out: dict[str, float] = {}
    for name in FIRST:
        pool = joined(written[name], some)
        policy = IntermediateTask(target=(TARGET,), epochs=scale.epochs)
        policy = policy.worst() if name == "turned round" else policy
        goal = Goal(pool, pool, Budget(2 * scale.questions + scale.pairs * scale.epochs, "records"))
        plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, run)
        out[name], out[f"answers, {name}"] = learned(plan, pool, vocab, test, check, run, scale)
        if name == FIRST[0]:
            alone = pool.column("source").to_numpy() == TARGET
            for arm, readings in zip(ALONE, (scale.epochs, plan.amount // scale.pairs), strict=True):
                repeats = np.where(alone, readings, 0)
                only = Plan.everything(pool, goal.budget).revised({"use": "claim"}, arm, repeats=repeats)
                out[arm], _ = learned(only, pool, vocab, test, check, run, scale)
    return out


def learned(
    plan: Plan, pool: TablePool, vocab: lab.Vocab, test: Mapping[str, Any], check: Mapping[str, Any], run: Run,
    scale: Scale,
) -> tuple[float, float]:  # fmt: skip
    """Accuracy on test pairs after all phases of the plan, and on answers after its first phase."""
    sides = encoded(vocab, pool.column("text").to_pylist())
    labels = torch.tensor([name in ("match", "same") for name in pool.column("label").to_pylist()]).long()
    target = pool.column("source").to_numpy() == TARGET
    order, _ = plan.reading_order(run)
    matched = float("nan")
    with threads(1):
        body = lab.decoder(1, len(vocab), 32, run, causal=False, width=scale.width, heads=2, hidden=2 * scale.width)
        model = Pairs(body)
        for number, phase in enumerate(np.unique(plan.phase[order])):
            mine = order[plan.phase[order] == phase]
            head = int(target[mine[0]])

            def losses_of(rows: Ints, head: int = head) -> tuple[Tensor, None]:
                return F.cross_entropy(model.scores(sides, rows, head), labels[rows], reduction="none"), None

            rate = scale.rate * (scale.slower if number else 1.0)
            train_examples(model, losses_of, mine, Options(rate=rate, batch=scale.batch))
            if number == 0:
                matched = correct(model.eval(), encoded(vocab, check["text"]), check["label"], 0)
        return correct(model.eval(), encoded(vocab, test["text"]), test["label"], 1), matched


class Pairs(nn.Module):
    """A bi-encoder: one encoder for both texts, and a linear layer for each task on how their vectors differ."""

    def __init__(self, encoder: Decoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleList(nn.Linear(2 * encoder.config.width, 2) for _ in range(2))
        for head in self.heads:
            assert isinstance(head, nn.Linear)
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def scores(self, sides: tuple[Texts, Texts], rows: Ints, head: int) -> Tensor:
        """(B, 2) scores of "other" and "same"."""
        u, v = (self.encoder.pooled(*padded_to(self.encoder, side, rows)) for side in sides)
        out: Tensor = self.heads[head](torch.cat([(u - v).abs(), u * v], -1))
        return out


@torch.no_grad()
def correct(model: Pairs, sides: tuple[Texts, Texts], labels: Sequence[str], head: int) -> float:
    """Share of pairs whose likelier label is the right one."""
    said = model.scores(sides, np.arange(len(labels)), head).argmax(-1).numpy()
    return float((said == np.isin(labels, ("match", "same"))).mean())


def encoded(vocab: lab.Vocab, texts: Sequence[str]) -> tuple[Texts, Texts]:
    """Both texts of each pair, as ids."""
    first, second = zip(*(text.split("\n\n") for text in texts), strict=True)
    return vocab.encode_batch(first), vocab.encode_batch(second)


def joined(answers: TablePool, pairs: Mapping[str, Any]) -> TablePool:
    """One pool of both tasks' records."""
    count = len(pairs["text"])
    columns = {name: answers.column(name).to_pylist() for name in ("id", "text", "label", "source")}
    mine = {"id": [f"pair {i}" for i in range(count)], **pairs, "source": [TARGET] * count}
    return TablePool(pa.table({name: columns[name] + list(mine[name]) for name in columns}), "labeled")


# ---- the world --------------------------------------------------------------------------------------


def triples(rng: np.random.Generator, scale: Scale, count: int, but: set[tuple[int, ...]]) -> Ints:
    """(count, 3) different concepts of the first half in each row, none of the sets in `but`."""
    rows: list[Any] = []
    while len(rows) < count:
        some = rng.choice(scale.concepts, 3, replace=False)
        if tuple(sorted(some.tolist())) not in but:
            rows.append(some)
    return np.array(rows)


def every_word(scale: Scale) -> list[str]:
    """All words there are."""
    names = [named(concept, name) for concept in range(2 * scale.concepts) for name in range(NAMES)]
    return [*names, *(f"t{c}x{i}" for c in range(scale.categories) for i in range(3)), *(f"q{i}" for i in range(10))]


def named(concept: int, name: int) -> str:
    """A concept under one of its names."""
    return f"c{concept}n{name}"


def sentence(rng: np.random.Generator, category: int, words: Sequence[str]) -> str:
    """Words among two of the category and two of no meaning, in any order."""
    around = [f"t{category}x{i}" for i in rng.integers(0, 3, 2)] + [f"q{i}" for i in rng.integers(0, 10, 2)]
    return " ".join(rng.permutation([*words, *around]))


def asked(rng: np.random.Generator, scale: Scale, concepts: Ints, far: bool) -> TablePool:
    """A question and its answer for each triple; `far`: the same of the second half of the concepts."""
    turns, categories = [], []
    for some in concepts + scale.concepts * far:
        category = int(rng.integers(0, scale.categories))
        question = [named(c, int(rng.integers(0, NAMES))) for c in some]
        answer = [named(c, int(n)) for c in some for n in rng.choice(NAMES, 2, replace=False)]
        told = ("user", sentence(rng, category, question)), ("assistant", sentence(rng, category, answer))
        turns.append([{"role": role, "content": content} for role, content in told])
        categories.append(f"category {category}")
    return TablePool(pa.table({"messages": pa.array(turns, MESSAGES), "source": categories}), "instruction")


def of_questions(rng: np.random.Generator, scale: Scale, concepts: Ints) -> dict[str, list[str]]:
    """For each triple a question and another, every second time one that asks the same: none, one or two names are
    shared, and what else there is has another name, or is another concept."""
    texts, labels = [], []
    for i, some in enumerate(concepts):
        category, shared = int(rng.integers(0, scale.categories)), int(rng.integers(0, 3))
        names = rng.integers(0, NAMES, 3)
        others, again = some.copy(), names.copy()
        if i % 2:
            others[shared:] = rng.choice(np.setdiff1d(np.arange(scale.concepts), some), 3 - shared, replace=False)
            again[shared:] = rng.integers(0, NAMES, 3 - shared)
        else:
            again[shared:] = (names[shared:] + rng.integers(1, NAMES, 3 - shared)) % NAMES
        first, second = (
            sentence(rng, category, [named(c, n) for c, n in zip(cs.tolist(), ns.tolist(), strict=True)])
            for cs, ns in ((some, names), (others, again))
        )
        texts.append(f"{first}\n\n{second}")
        labels.append("different" if i % 2 else "same")
    return {"text": texts, "label": labels}
