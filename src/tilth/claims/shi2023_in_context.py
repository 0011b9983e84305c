"""In-Context Pretraining (Shi et al. 2023, arXiv 2310.10638): documents that are alike lie in one window.

A world of topics. A topic has a few words of its own and a table of facts, drawn by lot, that holds nowhere else; its
documents use some of the words and state some of the facts, half of these twice. So what a document says first of a
thing can be known only from an earlier document of its topic, and any order of documents teaches to copy, from the
document itself. A decoder of 2 layers reads all documents several times over, and documents of a window may attend to
one another: in random order, or in that of the policy `in_context` with static embeddings, which is asked anew for each
pass. Both are then judged on windows of topics that neither has read: facts that an earlier document of the window
stated, and the loss of every document. Some documents are there twice, their sentences in another order.

The paper trains 7 B parameters on 306 B tokens and judges by benchmarks. Not run: benchmarks, real text.
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

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.models.batches import Windows, joined, windows, windows_to_score
from tilth.models.encoder import encoder
from tilth.models.feeds import Batch, Fixed
from tilth.models.optim import Options, precision_of
from tilth.models.train import record_losses, threads, train_lm
from tilth.models.transformer import Decoder
from tilth.policies.order.in_context import InContext

__all__ = ["PAPER", "run"]

PAPER = "incontext_pretraining"
SEEDS = 3
LIKE, FLOOR = 2.0, 0.05  # times the cosine in random order, which may be 0, or this if it is more
BETTER = 0.1  # share of facts
MARKS = {
    "facts": "facts that an earlier document stated",
    "facts of other topics": "the same facts behind documents of other topics",
    "twice": "facts that the document itself stated before",
    "first": "nats per token of a window's first document",
    "later": "nats per token of its other documents",
}
"""What is measured of an arm, in words."""
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scale:
    """The world, and the training.

    Attributes:
        topics, held: to train on, and held out.
        documents: of a topic.
        words, own: words that topics have, and of them those of a topic; a document has two fewer.
        keys, values, facts: things there are facts about, what may be said of them, and facts of a topic.
        told: facts that a document states.
        again: share of these that it states twice.
        copies: share of documents that are there twice.
        passes: how often all documents are read.
    """

    topics: int = 1000
    held: int = 150
    documents: int = 6
    words: int = 150
    own: int = 6
    keys: int = 20
    values: int = 20
    facts: int = 6
    told: int = 4
    again: float = 0.5
    copies: float = 0.05
    passes: int = 5
    context: int = 128
    depth: int = 2
    batch: int = 8


@dataclass(frozen=True)
class World:
    """Documents with their topics.

    Attributes:
        topic, copy: of each document its topic, and which document it is a copy of; -1 of none.
        held: documents of topics that are not in `texts`, topic after topic.
    """

    texts: Sequence[str]
    topic: Ints
    copy: Ints
    held: Sequence[str]
    vocab: lab.Vocab

    def pool(self, run: Run) -> TablePool:
        """The documents to train on, and static embeddings of them."""
        counts = np.diff(self.vocab.encode_batch(self.texts)[0]) + 1
        tokens = pa.StructArray.from_arrays([pa.array(counts)], ["count"])
        values = encoder("static", self.texts, run.at("encoder")).encode(self.texts)
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return TablePool(pa.table({"text": pa.array(self.texts, pa.string()), "tokens": tokens, "embedding": column}))


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    runs = [Run(seed=seed).at(PAPER) for seed in range(SEEDS)]
    return statements([measured(one, Scale()) for one in runs])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}
    alike, lot, times = of["alike"], of["alike, by lot"], of["read otherwise"]
    facts, later = of["facts, in_context"] - of["facts, random"], of["later, in_context"] - of["later, random"]
    close, used = of["copies together"], of["facts, in_context"] - of["facts of other topics, in_context"]
    return [
        lab.row("cosine of two documents of a window, in_context",
                f"higher (here: at least {LIKE:g} times that of random order, and {LIKE * FLOOR:g})", alike,
                bool((alike >= LIKE * np.maximum(lot, FLOOR)).all())),
        lab.row("documents not read once in each pass", "0", times, not times.any()),
        lab.row("share of copies in a window with what they copy", "removed (here: at most 0.02)", close,
                close.mean() <= 0.02),
        lab.row("facts that an earlier document stated: in_context less random",
                f"above 0 (here: at least {BETTER})", facts, facts.mean() >= BETTER),
        lab.row("nats per token from the second document of a window on: in_context less random", "below 0", later,
                lab.mean(later)[2] < 0),
        lab.row("in_context: the same facts, less behind documents of other topics", "above 0", used,
                lab.mean(used)[1] > 0),
        *(lab.row(f"{MARKS[what]}, {arm}", "", of[f"{what}, {arm}"], None)
          for what in MARKS for arm in ("in_context", "random")),
        lab.row("share of pairs in a window that have one topic, in_context", "", of["one topic"], None),
        lab.row("the same, random order", "", of["one topic, by lot"], None),
        lab.row("cosine of two documents of a window, random order", "", lot, None),
        lab.row("facts by chance", "", of["chance"], None),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed in one world."""
    made = world(run, scale)
    pool = made.pool(run)
    orders: dict[str, list[Ints]] = {"in_context": [], "random": []}
    details: Mapping[str, Any] = {}
    others = 0
    for turn in range(scale.passes):
        here = run.at("pass", turn)
        plan = ordered(pool, here, scale)
        details = plan.decisions[-1].details
        orders["in_context"].append(plan.reading_order(here)[0])
        orders["random"].append(lab.order(len(made.texts), len(made.texts), here))
        others += int((np.bincount(orders["in_context"][-1], minlength=len(made.texts)) != 1).sum())
    out = {
        "alike": float(details["inside"]), "alike, by lot": float(details["random"]), "chance": 1 / scale.values,
        "one topic": together(made, orders["in_context"][-1], scale)[0],
        "one topic, by lot": together(made, orders["random"][-1], scale)[0],
        "copies together": together(made, orders["in_context"][-1], scale)[1],
        "read otherwise": float(others),
    }  # fmt: skip
    for arm, some in orders.items():
        with threads(1):
            out |= {
                f"{name}, {arm}": value for name, value in marks(trained(made, some, run, scale), made, scale).items()
            }
    return out


def ordered(pool: TablePool, run: Run, scale: Scale) -> Plan:
    """The documents in the policy's order."""
    goal = Goal(pool, pool, Budget(1 << 40))
    policy = InContext(window=scale.context)
    return policy.revise(Plan.everything(pool, goal.budget), pool, goal, run)


def trained(made: World, orders: Sequence[Ints], run: Run, scale: Scale) -> Decoder:
    """A decoder that read the documents in these orders, each window's attending to one another."""
    texts = made.vocab.encode_batch(made.texts)
    read = joined([windows(*texts, order, scale.context, lab.END) for order in orders])
    model = lab.decoder(scale.depth, len(made.vocab), scale.context, run)
    options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
    train_lm(model, Fixed(read, scale.batch), options, apart=False)
    return model


def marks(model: Decoder, made: World, scale: Scale) -> dict[str, float]:
    """On windows of held-out topics: share of right facts that an earlier document stated, and nats per token by place.

    *Facts of other topics* are those of the same documents where all that lies before is of other topics.
    """
    own = np.arange(len(made.held)).reshape(-1, scale.documents)
    other = np.stack([np.roll(column, place) for place, column in enumerate(own.T)], 1)
    facts = told_before(made, scale)
    first = [np.full(part.size, place == 0) for row in own for place, part in enumerate(_encoded(made, row))]
    return {
        "facts": right(model, made, own, facts, scale),
        "facts of other topics": right(model, made, other, facts, scale),
        "twice": right(model, made, own, told_twice(made), scale),
        "first": loss(model, made, own, first, scale),
        "later": loss(model, made, own, [~part for part in first], scale),
    }


def right(model: Decoder, made: World, rows: Ints, judged: Sequence[Bools], scale: Scale) -> float:
    """Share of judged tokens that the model thinks likeliest, documents lying before each other as in `rows`.

    Args:
        rows: (windows, documents) which held-out document lies where.
        judged: of each held-out document, which of its tokens count.
    """
    data = _scored(made, rows, judged, scale)
    model.eval()
    good, count = 0, 0
    with torch.no_grad():
        for start in range(0, len(data), 64):
            part = Batch.of(data.take(np.arange(start, min(start + 64, len(data)))), "cpu")
            counted = part.targets >= 0
            found = model.logits(model(part.inputs, part.documents)[counted]).argmax(-1)
            good, count = good + int((found == part.targets[counted]).sum()), count + int(counted.sum())
    return good / count


def loss(model: Decoder, made: World, rows: Ints, judged: Sequence[Bools], scale: Scale) -> float:
    """Mean nats of the judged tokens; see `right`."""
    nats, tokens = record_losses(model, _scored(made, rows, judged, scale))
    return float(nats.sum() / tokens.sum())


def told_before(made: World, scale: Scale) -> list[Bools]:
    """Of each held-out document which tokens are values that an earlier document of its topic stated.

    A fact that the document itself stated before is not judged.
    """
    out = []
    for number, text in enumerate(made.held):
        if number % scale.documents == 0:
            known: set[str] = set()
        words = text.split()
        seen = set(known)
        flags = np.zeros(len(words), np.bool_)
        for place in range(2, len(words), 3):
            flags[place] = words[place - 1] in known and words[place - 1] in seen
            seen.discard(words[place - 1])
        known |= set(words[1::3])
        out.append(flags)
    return out


def told_twice(made: World) -> list[Bools]:
    """Of each held-out document which tokens are values that the document stated before."""
    out = []
    for text in made.held:
        keys = text.split()[1::3]
        flags = np.zeros(3 * len(keys), np.bool_)
        flags[2::3] = [key in keys[:place] for place, key in enumerate(keys)]
        out.append(flags)
    return out


def _encoded(made: World, rows: Ints) -> list[npt.NDArray[np.uint32]]:
    """The tokens of some held-out documents."""
    offsets, ids = made.vocab.encode_batch([made.held[i] for i in rows])
    return np.split(ids, offsets[1:-1])


def _scored(made: World, rows: Ints, judged: Sequence[Bools], scale: Scale) -> Windows:
    """Every row as one text, in which documents follow each other with an end between."""
    ids: list[npt.NDArray[np.uint32]] = []
    flags: list[Bools] = []
    sizes = []
    end, never = np.array([lab.END], np.uint32), np.zeros(1, np.bool_)
    for row in rows:
        parts = _encoded(made, row)
        ids += [token for part in parts for token in (part, end)][:-1]
        flags += [flag for i in row for flag in (judged[i], never)][:-1]
        sizes.append(sum(part.size + 1 for part in parts) - 1)
        if sizes[-1] > scale.context:
            raise ValueError(f"a topic has {sizes[-1]} tokens, and a window {scale.context}")
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return windows_to_score(offsets, np.concatenate(ids), scale.context, lab.END, np.concatenate(flags))


def together(made: World, order: Ints, scale: Scale) -> tuple[float, float]:
    """Share of pairs of documents of a model's window that have one topic, and of copies beside what they copy."""
    read = windows(*made.vocab.encode_batch(made.texts), order, scale.context, lab.END).records
    same, pairs, beside = 0, 0, set()
    for row in read:
        some = np.unique(row[row >= 0])
        topics = made.topic[some]
        same += int((topics[:, None] == topics).sum()) - some.size
        pairs += some.size * (some.size - 1)
        beside |= {int(i) for i in some if made.copy[i] in some}
    return same / max(pairs, 1), len(beside) / max(int((made.copy >= 0).sum()), 1)


# ---- the world --------------------------------------------------------------------------------------


def world(run: Run, scale: Scale) -> World:
    """Topics with words and facts of their own, and their documents: a word, a thing and what is said of it, again."""
    rng = run.rng("world")
    made: list[list[str]] = []
    for _ in range(scale.topics + scale.held):
        words = rng.permutation(scale.words)[: scale.own]
        keys, values = rng.permutation(scale.keys)[: scale.facts], rng.integers(0, scale.values, scale.facts)
        made.append([document(words, keys, values, rng, scale) for _ in range(scale.documents)])
    texts = [text for some in made[: scale.topics] for text in some]
    topic = np.repeat(np.arange(scale.topics), scale.documents)
    twice = np.flatnonzero(rng.random(len(texts)) < scale.copies)
    for i in twice.tolist():
        words_of = texts[i].split()
        facts = [" ".join(words_of[j : j + 3]) for j in range(0, len(words_of), 3)]
        texts.append("".join(f" {facts[j]}" for j in rng.permutation(len(facts))))
    copy = np.concatenate([np.full(topic.size, -1), twice])
    held = [text for some in made[scale.topics :] for text in some]
    vocab = lab.Vocab.of([*texts, *held], lab.WORDS)
    return World(texts, np.concatenate([topic, topic[twice]]), copy, held, vocab)


def document(words: Ints, keys: Ints, values: Ints, rng: np.random.Generator, scale: Scale) -> str:
    """Some of a topic's facts, some of them twice, each after one of its words."""
    facts = rng.permutation(keys.size)[: scale.told]
    facts = np.concatenate([facts, facts[: round(scale.again * scale.told)]])
    some = rng.permutation(words)[: words.size - 2]
    return "".join(
        f" w{some[place % some.size]} k{keys[fact]} v{values[fact]}"
        for place, fact in enumerate(facts[rng.permutation(facts.size)].tolist())
    )
