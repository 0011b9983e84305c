"""Unsupervised LLM Adaptation for Question Answering (Saito et al. 2024, arXiv 2402.12170): facts told late in a text.

A decoder of 2 layers first reads five wordings of the biographies of some invented people and the questions about them.
Then it reads one biography each of other people, six sentences with a fact each, the name in the first only, in each
text in an order of its own, so that every place has the same kinds of facts. Mixed in are questions about half of these
people, the source; it is then asked about the others, the target, of whom it only read. Answers are counted by the
place of the fact's sentence. In further arms a share of the words of biographies is replaced by random ones where they
are read, never where they are predicted; or each text is read in several orders of its sentences. As noise slows
learning, two arms read three times as long. The control replaces words where they are predicted, too. The paper tunes
pretrained models of billions of parameters.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.batches import reading_order, windows_of_documents
from tilth.models.feeds import Batch, Feed, Fixed, Replaced, Seen
from tilth.models.optim import Options
from tilth.models.train import threads, train_lm
from tilth.models.transformer import Decoder
from tilth.probes._biography import ATTRIBUTES
from tilth.probes.biographies import Biographies

__all__ = ["PAPER", "run"]

PAPER = "unsupervised_llm_adaptation_for_question_answering"
SEEDS = 3
PLAIN, JUDGED, SHUFFLED, CONTROL = "none replaced", "30 % replaced", "sentences shuffled", "30 %, targets too"
LONG, LONGER = "none replaced, read three times as long", "30 % replaced, read three times as long"
ARMS: Mapping[str, float] = {PLAIN: 0.0, "10 % replaced": 0.1, JUDGED: 0.3, "50 % replaced": 0.5, SHUFFLED: 0.0,
                             CONTROL: 0.3, LONG: 0.0, LONGER: 0.3}  # fmt: skip
"""The share of words replaced; 30 %, the middle of the paper's range, was chosen to be judged before any was run."""
PLACES = len(ATTRIBUTES)
Found = Mapping[str, float]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The people, and the training.

    Attributes:
        earlier, before: people whom the model knows beforehand, and tokens read of them.
        people: of whom it reads then; half of them source, half target.
        tokens: read of these, in each arm; in both readings biographies and questions are about equally many.
        copies: orders of the sentences of a text where they are shuffled.
    """

    earlier: int = 100
    before: int = 500_000
    people: int = 100
    tokens: int = 150_000
    depth: int = 2
    context: int = 128
    batch: int = 4
    copies: int = 5


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str) -> Floats:
        return np.array([f[arm][name] for f in found])

    start, late, every = (of(PLAIN, name) for name in ("first sentence", "later sentences", "all"))
    gap, gain = start - late, of(JUDGED, "later sentences") - late
    narrower = gap - (of(JUDGED, "first sentence") - of(JUDGED, "later sentences"))
    shuffled = of(SHUFFLED, "later sentences") - late
    wrong = of(CONTROL, "later sentences") - of(JUDGED, "later sentences")
    longer = of(LONGER, "later sentences") - of(LONG, "later sentences")
    apart = of(LONG, "first sentence") - of(LONG, "later sentences")
    known = np.minimum(of(PLAIN, "source questions"), of(PLAIN, "target texts completed"))
    return [
        lab.row("questions about target people, none replaced; chance is 0.0045", "above 0 (here: at least 0.05)",
                every, every.mean() >= 0.05 and lab.mean(every)[1] > 0.0045),
        lab.row("first sentence less later ones, none replaced", "large (here: at least 0.2)", gap,
                gap.mean() >= 0.2 and lab.mean(gap)[1] > 0),
        lab.row("later sentences, 30 % replaced less none", "above 0 (here: at least 0.05)", gain,
                gain.mean() >= 0.05 and lab.mean(gain)[1] > 0),
        lab.row("the gap, none replaced less 30 %", "above 0 (here: at least 0.05)", narrower,
                narrower.mean() >= 0.05 and lab.mean(narrower)[1] > 0),
        lab.row("later sentences, shuffled less told in one order", "above 0", shuffled, lab.mean(shuffled)[1] > 0),
        lab.row("source questions, and facts completed in target texts, the lower, none replaced",
                "known by heart (here: at least 0.95)", known, known.mean() >= 0.95),
        lab.row("control: later sentences, targets replaced, too, less inputs only", "below 0", wrong,
                lab.mean(wrong)[2] < 0),
        lab.row("read three times as long: first sentence less later ones, none replaced",
                "large (here: at least 0.2)", apart, apart.mean() >= 0.2 and lab.mean(apart)[1] > 0),
        lab.row("read three times as long: later sentences, 30 % replaced less none", "above 0 (here: at least 0.05)",
                longer, longer.mean() >= 0.05 and lab.mean(longer)[1] > 0),
        *(lab.row(f"{arm}: {name}", "", of(arm, name), None) for name in found[0][PLAIN] for arm in found[0]),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[str, dict[str, float]]:
    """Of each arm the shares of right answers, by the place of the fact's sentence in the text that told it."""
    earlier = Biographies().build(scale.earlier * 5, run.at("earlier"))
    world = Biographies(rewrites=1, full_name=False).build(scale.people, run)
    before, truth = (w.pool.column("truth").to_pylist() for w in (earlier, world))
    texts, told = biographies(world.pool), biographies(earlier.pool)
    known = [ask + say for half in ("qa_train", "qa_test")
             for ask, say in zip(*questions(earlier.more[half], before), strict=True)]  # fmt: skip
    (asks, says), (others, wanted) = (questions(world.more[half], truth) for half in ("qa_train", "qa_test"))
    said = [ask + say for ask, say in zip(asks, says, strict=True)]
    vocab = lab.Vocab.of([*told, *known, *texts, *said, *others, *wanted], lab.WORDS)
    place = {row["person"]: places(row) for row in truth}
    at = np.array([place[t["person"]][t["attribute"]] for t in world.more["qa_test"].column("truth").to_pylist()])
    found = {}
    with threads(1):
        start = lab.decoder(scale.depth, len(vocab), scale.context, run)
        options = Options(rate=start.config.rate, batch=scale.batch)
        train_lm(start, reading(PLAIN, vocab, told, known, 1, scale.before, scale, run.at("earlier")), options)
        for arm in ARMS:
            model = copy.deepcopy(start)
            mixed = shuffled(texts, scale.copies, run.rng("shuffled")) if arm == SHUFFLED else texts
            each = 1 if arm == SHUFFLED else scale.copies
            tokens = scale.tokens * (3 if arm in (LONG, LONGER) else 1)
            train_lm(model, reading(arm, vocab, mixed, said, each, tokens, scale, run), options)
            given, source = lab.answers(model, vocab, others, 8), lab.answers(model, vocab, asks, 8)
            right = np.array([a == b for a, b in zip(given, wanted, strict=True)])
            found[arm] = {
                "first sentence": float(right[at == 0].mean()),
                "later sentences": float(right[at > 0].mean()),
                "all": float(right.mean()),
                **{f"sentence {k + 1}": float(right[at == k].mean()) for k in range(PLACES)},
                "source questions": float(np.mean([a == b for a, b in zip(source, says, strict=True)])),
                "target texts completed": _completed(model, vocab, texts, truth, world.more["qa_test"]),
            }
    return found


def reading(
    arm: str, vocab: lab.Vocab, told: Sequence[str], said: Sequence[str], each: int, tokens: int, scale: Scale, run: Run
) -> Feed:
    """Biographies and questions, about as many words of both, no text cut; in an arm with noise, of biographies alone.

    Args:
        told: biographies, each read so many times (`each`) in a round; questions as often as gives as many words.
        said: questions with their answers.
        tokens: read in all.
    """
    offsets, ids = vocab.encode_batch([*told, *said])
    lengths = np.diff(offsets) + 1
    often = max(1, round(each * lengths[: len(told)].sum() / lengths[len(told) :].sum()))
    repeats = np.repeat([each, often], [len(told), len(said)])
    rounds = -(-tokens // int((lengths * repeats).sum()))
    order = reading_order(repeats * rounds, run.rng("order"))
    packed = windows_of_documents(offsets, ids, order, scale.context, lab.END, rng=run.rng("packed"), tokens=tokens)
    feed: Feed = Fixed(packed, scale.batch)
    if ARMS[arm]:
        which = np.arange(lengths.size) < len(told)
        feed = Replaced(feed, ARMS[arm], len(vocab), run, end=lab.END, which=which)
    return Predicted(feed) if arm == CONTROL else feed


class Predicted:
    """A feed whose targets are what it reads one token further, so that noise in the inputs is learned, too."""

    def __init__(self, feed: Feed) -> None:
        self.feed, self.steps = feed, feed.steps

    def batch(self, step: int) -> Batch:
        """The other feed's batch; a target that no input of its document follows stays."""
        batch = self.feed.batch(step)
        targets = batch.targets.clone()
        same = (batch.documents[:, 1:] == batch.documents[:, :-1]) & (batch.documents[:, 1:] >= 0)
        targets[:, :-1] = torch.where(same, batch.inputs[:, 1:], targets[:, :-1])
        return replace(batch, targets=targets)

    def learn(self, seen: Seen) -> None:
        """Nothing to learn."""


def shuffled(texts: Sequence[str], copies: int, rng: np.random.Generator) -> list[str]:
    """Every text so many times, its sentences each time in an order drawn at random.

    >>> shuffled([" One is here. It is red."], 2, np.random.default_rng(3))
    [' It is red. One is here.', ' One is here. It is red.']
    """
    parts = [re.split(r"(?<=\.)(?= )", text) for text in texts]
    return ["".join(part[i] for i in rng.permutation(len(part))) for part in parts for _ in range(copies)]


def places(truth: Mapping[str, Any]) -> dict[str, int]:
    """Of each attribute the number of the sentence that tells it, from 0."""
    return {a: i for i, a in enumerate(sorted(ATTRIBUTES, key=lambda a: int(truth[f"at_{a}"])))}


def _completed(
    model: Decoder, vocab: lab.Vocab, texts: Sequence[str], truth: Sequence[Mapping[str, Any]], target: Pool
) -> float:
    """The share of facts in target texts that are written out when everything before them in the text is given."""
    people = set(target.column("truth.person").to_pylist())
    cues, values = [], []
    for text, row in zip(texts, truth, strict=True):
        if row["person"] in people:
            cues += [text[: row[f"at_{a}"]] for a in ATTRIBUTES]  # text has a blank before it: this ends before one
            values += [f" {row[a]}" for a in ATTRIBUTES]
    longest = max(np.diff(vocab.encode_batch(values)[0]))
    given = lab.answers(model, vocab, cues, int(longest))
    return float(np.mean([a.startswith(b) for a, b in zip(given, values, strict=True)]))


def biographies(pool: Pool) -> list[str]:
    """The texts, each with the name written as one word, so that a person is one token; see `questions`."""
    names = pool.column("truth.name").to_pylist()
    return [f" {_one_word(text, name)}" for text, name in zip(pool.column("text").to_pylist(), names, strict=True)]


def questions(pool: Pool, truth: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Questions and answers about people, named as in `biographies`, whose truth is given."""
    names = {row["person"]: row["name"] for row in truth}
    prompts, replies = lab.asked(pool)
    people = pool.column("truth.person").to_pylist()
    asks = [f" {_one_word(prompt, names[person])}" for prompt, person in zip(prompts, people, strict=True)]
    return asks, [f" {reply}" for reply in replies]


def _one_word(text: str, name: str) -> str:
    return text.replace(name, name.replace(" ", "_"))
