"""Physics of Language Models, part 3.1 (Allen-Zhu and Li 2023, arXiv 2309.14316): facts told once can not be asked for.

A decoder of 2 layers with one token per word reads biographies of invented people, in one arm a single fixed text of
each, in the other five wordings with their sentences in five orders, as many tokens in both. Then it is tuned on the
questions about half of the people, and answers those about the other half, whom it only read of. Before the tuning,
linear probes of its hidden states are asked for parts of facts: just before the first value of a text for those that
come later in it (the paper's P-probe), and after a name alone (its Q-probe). In a third arm, half of the words read are
the questions about the first half of the people, the rest one text of each; nothing is tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.batches import padded, reading_order
from tilth.models.optim import Options
from tilth.models.train import descend, generator, threads
from tilth.models.transformer import Decoder, rotations
from tilth.probes._biography import ATTRIBUTES, VALUES
from tilth.probes.biographies import Biographies, marks

__all__ = ["PAPER", "run"]

PAPER = "physics_of_language_models"
SEEDS = 3
SINGLE, MANY = Biographies(rewrites=1, permute=False), Biographies()
MIXED = Biographies(rewrites=1, permute=False, qa_share=0.5)
PARTS = {"university": -1, "major": 0, "employer": -1}
"""Attributes that probes are asked for, and which word of the value: few words, so that half of the people show all."""
CLASSES = {a: sorted({value.split()[i] for value in VALUES[a]}) for a, i in PARTS.items()}
GUESS = float(np.mean([1 / len(words) for words in CLASSES.values()]))
"""What even guesses of those words get."""
Floats = npt.NDArray[np.float64]
Row = tuple[str, int, list[int]]


@dataclass(frozen=True)
class Scale:
    """How many people, and the training: tokens of biographies, then updates on questions; updates of the probes.

    Attributes:
        ranks: of the update of the input embedding that the probes learn besides their head: P-probe, Q-probe.
    """

    people: int = 100
    tokens: int = 800_000
    depth: int = 2
    context: int = 128
    batch: int = 4
    steps: int = 200
    asked: int = 16
    probing: int = 100
    ranks: tuple[int, int] = (2, 16)


@dataclass(frozen=True)
class Found:
    """Shares of right answers: values completed in the texts read, and questions of both halves of the people.

    `early` is the P-probe before the first value of a text, `late` before the value itself, `named` the Q-probe: shares
    of right words of `PARTS`, about people whom the probe was not trained on.
    """

    recalled: float
    trained: float
    others: float
    birth_date: float
    early: float = 0.0
    late: float = 0.0
    named: float = 0.0


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), range(SEEDS)
    single = [measured(SINGLE, Run(seed=seed), scale) for seed in seeds]
    many = [measured(MANY, Run(seed=seed), scale) for seed in seeds]
    mixed = [measured(MIXED, Run(seed=seed), scale) for seed in seeds]
    control = [measured(MANY, Run(seed=seed), scale, dealt=True) for seed in seeds]
    return [*statements(single, many, control), *probes_and_mixing(single, many, mixed, control)]


def statements(single: Sequence[Found], many: Sequence[Found], control: Sequence[Found]) -> list[dict[str, Any]]:
    """The paper's statements about questions, judged on what `measured` gives of each seed in each arm."""
    once, often, dealt = (np.array([f.others for f in arm]) for arm in (single, many, control))
    known = np.array([min(a.recalled, b.recalled) for a, b in zip(single, many, strict=True)])
    gap = often - once
    return [
        lab.row("one text each: questions about people only read of", "about 0 to 0.1 (here: at most 0.15)", once,
                once.mean() <= 0.15),
        lab.row("five wordings, permuted: the same", "about 0.96 (here: at least 0.7)", often, often.mean() >= 0.7),
        lab.row("five wordings less one text, equal tokens", "above 0", gap, lab.mean(gap)[1] > 0),
        lab.row("employers completed in the texts read, lower of both arms", "about 1", known, known.mean() >= 0.95),
        lab.row("control: five wordings that name other people", "chance (0.0045)", dealt, dealt.mean() <= 0.05),
        *(lab.row(f"{name}: {what}", "", [getattr(f, field) for f in arm], None)
          for name, arm in (("one text", single), ("five wordings", many))
          for what, field in (("questions tuned on", "trained"), ("birth dates of people only read of", "birth_date"))),
    ]  # fmt: skip


def probes_and_mixing(
    single: Sequence[Found], many: Sequence[Found], mixed: Sequence[Found], control: Sequence[Found]
) -> list[dict[str, Any]]:
    """The paper's statements about hidden states, and about questions mixed into the reading."""
    early, named = (
        [np.array([getattr(f, field) for f in arm]) for arm in (single, many)] for field in ("early", "named")
    )
    rise, brought = early[1] - early[0], named[1] - named[0]
    helped = np.array([a.others - b.others for a, b in zip(mixed, single, strict=True)])
    dealt = np.array([f.named for f in control])
    guess = f"{GUESS:.3f}"
    return [
        lab.row("P-probe at the first value, one text each: words of later values",
                f"low (here: at most {GUESS + 0.1:.3f})", early[0], early[0].mean() <= GUESS + 0.1),
        lab.row("P-probe at the first value: five wordings less one text", "above 0", rise, lab.mean(rise)[1] > 0),
        lab.row("Q-probe at the name alone: five wordings less one text", "above 0", brought,
                lab.mean(brought)[1] > 0),
        lab.row("half of the people's questions mixed in, one text each, less tuned on them after: questions about the "
                "others", "above 0", helped, lab.mean(helped)[1] > 0),
        lab.row("control: Q-probe, texts that name other people", f"chance ({guess})", dealt,
                dealt.mean() <= GUESS + 0.05),
        *(lab.row(f"{name}: {what}; chance is {guess}", "", [getattr(f, field) for f in arm], None)
          for name, arm in (("one text", single), ("five wordings", many), ("one text, questions mixed in", mixed))
          for what, field in (("P-probe at the first value", "early"), ("P-probe at the value itself", "late"),
                              ("Q-probe", "named"))),
        lab.row("one text, questions mixed in: questions about people only read of", "", [f.others for f in mixed],
                None),
        lab.row("one text, questions mixed in: the questions mixed in", "", [f.trained for f in mixed], None),
    ]  # fmt: skip


def measured(probe: Biographies, run: Run, scale: Scale, dealt: bool = False) -> Found:
    """Read, be probed, be asked, and answer; where questions are in what was read, nothing more is learned from them.

    Args:
        dealt: the names of the texts go to other people, so the texts say nothing about those who are asked for.
    """
    world = probe.build(scale.people * probe.rewrites, run)
    texts = [f" {text}" for text in world.pool.column("text").to_pylist()]
    truth = world.pool.column("truth").to_pylist()
    about = [row["rewrite"] is not None for row in truth]
    if dealt:
        texts = _dealt(texts, truth)
    (asks, says), (other, _) = (_spaced(world.more[half]) for half in ("qa_train", "qa_test"))
    vocab = lab.Vocab.of([*texts, *asks, *says, *other, *_spaced(world.more["qa_test"])[1]], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), scale.context, run)
        options = Options(rate=model.config.rate, batch=scale.batch)
        lab.read(model, vocab.encode_batch(texts), scale.tokens, run.at("read"), options)
        bios, facts = ([x for x, told in zip(some, about, strict=True) if told] for some in (texts, truth))
        recalled = _recalled(model, vocab, bios, facts)
        low, high = scale.ranks
        named = probed(model, _names(vocab, facts), high, scale.probing, run.at("probe", "names"))
        early = late = float("nan")  # other names shift the places of values
        if not dealt:
            early, late = (probed(model, cues, low, scale.probing, run.at("probe", i))
                           for i, cues in enumerate(_cues(vocab, bios, facts)))  # fmt: skip
        if all(about):
            tuned = Options(rate=model.config.rate / 3, batch=scale.asked)
            lab.tune(model, lab.talks(vocab, asks, says), scale.steps, run.at("asked"), tuned)
        else:  # as the texts put them
            asks, other = ([f" Question:{prompt} Answer:" for prompt in some] for some in (asks, other))
        trained, others = (lab.answers(model, vocab, some, 8) for some in (asks, other))
    marked = marks(world, [text.strip() for text in others])
    hits = [a.strip() == b.strip() for a, b in zip(trained, says, strict=True)]
    return Found(recalled, float(np.mean(hits)), marked["all"], marked["birth_date"], early, late, named)


def _recalled(model: Decoder, vocab: lab.Vocab, texts: list[str], truth: list[dict[str, Any]]) -> float:
    """The share of employers written out when everything before them in a text read is given."""
    cues = [text[: text.index(f" {row['employer']}")] for text, row in zip(texts, truth, strict=True)]
    said = lab.answers(model, vocab, cues, 3)
    return float(np.mean([a.startswith(f" {row['employer']}") for a, row in zip(said, truth, strict=True)]))


def _dealt(texts: list[str], truth: list[dict[str, Any]]) -> list[str]:
    names = {row["person"]: row["name"] for row in truth}
    people = sorted(names)
    other = dict(zip(people, [*people[1:], *people[:1]], strict=True))
    return [t.replace(row["name"], names[other[row["person"]]]) for t, row in zip(texts, truth, strict=True)]


def _spaced(pool: Pool) -> tuple[list[str], list[str]]:
    prompts, replies = lab.asked(pool)
    return [f" {prompt}" for prompt in prompts], [f" {reply}" for reply in replies]


# ---- probes of hidden states ---------------------------------------------------------------------


class _Probe(nn.Module):
    """Linear heads on a hidden state of a frozen model, and a low-rank update of the model's input embedding."""

    def __init__(self, model: Decoder, rank: int, run: Run) -> None:
        super().__init__()
        rng, width = generator(run.rng("probe")), model.config.width
        self.model = [model]  # in a list, so that its weights are not the probe's
        self.low = nn.Parameter(torch.zeros(model.config.vocab, rank))
        self.high = nn.Parameter(torch.randn(rank, width, generator=rng) * width**-0.5)
        self.head = nn.Parameter(torch.zeros(width, sum(map(len, CLASSES.values()))))

    def forward(self, tokens: Tensor, places: Tensor) -> list[Tensor]:
        """Scores of the words of each attribute, read where `places` says."""
        model = self.model[0]
        x = model.embedding(tokens) + self.low[tokens] @ self.high
        turn = rotations(torch.arange(tokens.shape[1]), model.config)
        hidden = model._hidden(x, turn, None, None)[torch.arange(len(tokens)), places]
        return [*torch.split(hidden @ self.head, [len(words) for words in CLASSES.values()], 1)]


@dataclass(frozen=True)
class Cues:
    """What a probe reads, one row each: ids up to the place where it looks, whom it is about, and the right words.

    `words` has a column for each attribute of `PARTS`, and -1 where it is not asked for.
    """

    ids: list[npt.NDArray[np.int64]]
    person: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]


def probed(model: Decoder, cues: Cues, rank: int, steps: int, run: Run) -> float:
    """Share of right words about people whom the probe was not trained on; mean of both ways round of two halves."""
    model.eval().requires_grad_(False)
    people = np.unique(cues.person)
    first = np.isin(cues.person, run.rng("probed").permutation(people)[: people.size // 2])
    shares = [_probe(model, cues, np.flatnonzero(half), np.flatnonzero(~half), rank, steps, run.at("half", i))
              for i, half in enumerate((first, ~first))]  # fmt: skip
    model.requires_grad_(True)
    return float(np.mean(shares))


def _probe(
    model: Decoder,
    cues: Cues,
    train: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
    rank: int,
    steps: int,
    run: Run,
) -> float:
    offsets = np.concatenate([[0], np.cumsum([row.size for row in cues.ids])]).astype(np.int64)
    flat, words = np.concatenate(cues.ids), torch.from_numpy(cues.words)
    probe, options = _Probe(model, rank, run), Options(rate=1e-2, batch=min(50, train.size), weight_decay=0.1)

    def scores(rows: npt.NDArray[np.int64]) -> list[Tensor]:
        ids, real = padded(offsets, flat.astype(np.uint32), rows, model.config.context)
        found: list[Tensor] = probe(torch.from_numpy(ids), torch.from_numpy(real.sum(1) - 1))
        return found

    count = -(-steps * options.batch // train.size)
    order = train[reading_order(np.full(train.size, count), run.rng("order"))]

    def loss_of(step: int) -> Tensor:
        rows = order[step * options.batch : (step + 1) * options.batch]
        parts = [
            F.cross_entropy(given, words[rows, i], ignore_index=-1, reduction="sum")
            for i, given in enumerate(scores(rows))
        ]
        return torch.stack(parts).sum() / len(rows)

    descend(probe, loss_of, steps, options)
    with torch.no_grad():
        said = np.stack([given.argmax(1).numpy() for given in scores(test)], 1)
    asked = cues.words[test] >= 0
    return float((said == cues.words[test])[asked].mean())


def _cues(vocab: lab.Vocab, texts: list[str], truth: list[dict[str, Any]]) -> tuple[Cues, Cues]:
    """Texts up to their first value, asked for later ones; one text of each person up to each value asked for."""
    early: list[Row] = []
    late: list[Row] = []
    for text, row in zip(texts, truth, strict=True):
        values = {a: row[f"at_{a}"] for a in ATTRIBUTES}
        first = min(values, key=lambda a: values[a])
        words = _words(row)
        later = [-1 if a == first else word for a, word in zip(PARTS, words, strict=True)]
        early.append((text[: values[first]], row["person"], later))
        if row["rewrite"] == 0:
            late += [(text[: values[a]], row["person"], [w if i == j else -1 for j, w in enumerate(words)])
                     for i, a in enumerate(PARTS)]  # fmt: skip
    return _tokens(vocab, early), _tokens(vocab, late)


def _names(vocab: lab.Vocab, truth: list[dict[str, Any]]) -> Cues:
    """The name of each person alone."""
    people = {row["person"]: row for row in truth}
    return _tokens(vocab, [(f" {row['name']}", person, _words(row)) for person, row in sorted(people.items())])


def _words(row: dict[str, Any]) -> list[int]:
    return [CLASSES[a].index(row[a].split()[i]) for a, i in PARTS.items()]


def _tokens(vocab: lab.Vocab, rows: list[Row]) -> Cues:
    offsets, ids = vocab.encode_batch([text for text, _, _ in rows])
    parts = [np.concatenate([[lab.END], ids[a:b]]).astype(np.int64) for a, b in pairwise(offsets)]
    return Cues(parts, np.array([person for _, person, _ in rows]), np.array([words for _, _, words in rows]))
