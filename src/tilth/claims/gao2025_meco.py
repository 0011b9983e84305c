"""Conditioning on metadata (Gao et al. 2025, arXiv 2501.01956): told the source first, plain text last.

Two worlds. In the first, two sources say the opposite of each other: of each of 16 words one says yes and the other
no. Every statement stands after a word that both use, one of them four times as often as the other, so that a plain
reader can work out whose text it reads. The second is text of six real sources. All arms learn the same number of
tokens of records from the same start; MeCo and plain reading go through the same records in the same order. Controls:
no plain part at the end, and prefixes dealt to records at random. In conventions a model learns nothing for a while and
then much at once, sooner or later by chance, so there are many seeds of few tokens each.

The paper trains 1.6 B parameters on 160 B tokens, with hosts of URLs, and judges by benchmarks. Not run: benchmarks.
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
from tilth.models.batches import prefixed, windows_to_score
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import record_losses, threads, train_lm
from tilth.models.transformer import Decoder
from tilth.policies.order.metadata_prefix import MetadataPrefix
from tilth.proofs._text import read_windows

__all__ = ["PAPER", "run"]

PAPER = "metadata_conditioning_accelerates_language_model_pretraining"
SOURCES = (
    "chat_irc_ubuntu",
    "encyclopedia_factbook",
    "fiction_novels",
    "health_medquad",
    "law_german",
    "math_stacks",
)
SEEDS = range(100, 120)
"""Not those of a first run with 12 seeds, whose interval held 0: see the page."""
CONTROLS, REAL = 8, 3  # of the seeds: those with controls, and those that read real text
LESS = 0.8  # part of the tokens with which MeCo is to be as good
STEERED = 0.8
MECO = MetadataPrefix()
Texts = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scale:
    """How much is read, and the model.

    Attributes:
        tokens: of records, learned in conventions.
        words, facts: in conventions: words to say yes or no of, and statements in a text.
        held: texts on which losses are measured, of real text for each source.
        texts, longest: real texts of each source, and characters of one.
    """

    tokens: int = 100_000
    words: int = 16
    facts: int = 6
    held: int = 200
    texts: int = 450
    longest: int = 250
    depth: int = 2
    vocab: int = 512
    batch: int = 8


@dataclass(frozen=True)
class World:
    """Texts with tags to learn from, and others to be judged by.

    Attributes:
        judged: which ids of the held texts count, aligned with them; None: all.
        first: those of the first statements, whose source can hardly be known.
    """

    texts: Sequence[str]
    tags: Sequence[str]
    held: Sequence[str]
    told: Sequence[str]
    vocab: Any
    context: int
    judged: Bools | None = None
    first: Bools | None = None

    @property
    def names(self) -> list[str]:
        """All tags."""
        return sorted({*self.tags})

    @property
    def wrong(self) -> list[str]:
        """For each held text the tag that follows its own."""
        names = self.names
        return [names[(names.index(tag) + 1) % len(names)] for tag in self.told]

    def pool(self, tags: Sequence[str]) -> TablePool:
        """The texts to learn from with these tags."""
        counts = np.diff(self.vocab.encode_batch(list(self.texts))[0]) + 1
        tokens = pa.StructArray.from_arrays([pa.array(counts)], ["count"])
        return TablePool(pa.table({"text": [*self.texts], "source": [*self.tags], "tag": [*tags], "tokens": tokens}))


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a real source's file is missing.
    """
    files = lab.records(data, *(f"A_text/{name}" for name in SOURCES))
    texts = {name: [r["text"] for r in rows] for name, rows in zip(SOURCES, files, strict=True)}
    runs, scale = [Run(seed=seed).at("gao2025_meco") for seed in SEEDS], Scale()
    said = []
    for number, one in enumerate(runs):
        arms = ("plain", "meco", "less", *(("hot", "dealt") if number < CONTROLS else ()))
        said.append(marks(conventions(one, scale), one, scale, arms))
    read = [marks(real(texts, one, scale), one, scale, ("plain", "meco", "hot")) for one in runs[:REAL]]
    return statements(said, read)


def statements(said: Sequence[Mapping[str, float]], read: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The statements, judged on what `marks` gives of each seed in conventions, and in real text.

    Arms that not all seeds have are those of the first ones, and compared on these.
    """
    of, real = (
        {name: np.array([one[name] for one in some if name in one]) for name in some[0]} for some in (said, read)
    )

    def below(what: str, paper: str, a: Floats, b: Floats) -> dict[str, Any]:
        return lab.row(what, paper, a - b, lab.mean(a - b)[2] < 0)

    def above(what: str, a: Floats, b: Floats) -> dict[str, Any]:
        less = a - b[: a.size]
        return lab.row(what, "above 0", less, lab.mean(less)[1] > 0)

    steers = of["steered"]
    return [
        below("conventions, plain text: MeCo less plain reading", "below 0", of["meco"], of["plain"]),
        below(f"the same, MeCo on {LESS:.0%} of the tokens", "below 0", of["less"], of["plain"]),
        above("no plain part less MeCo", of["hot"], of["meco"]),
        above("prefixes dealt at random less MeCo", of["dealt"], of["meco"]),
        below("MeCo, the right prefix less a wrong one", "below 0", of["right"], of["wrong"]),
        lab.row("MeCo: first answers as a made-up prefix says", f"most (here: at least {STEERED})", steers,
                lab.mean(steers)[0] >= STEERED),
        below("real text, plain: MeCo less plain reading", "below 0", real["meco"], real["plain"]),
        above("real text, no plain part less MeCo", real["hot"], real["meco"]),
        below("real text, MeCo: the right prefix less a wrong one", "below 0", real["right"], real["wrong"]),
        *(lab.row(f"conventions, {arm}: nats per answer, plain", "", of[arm], None)
          for arm in ("plain", "meco", "less", "hot", "dealt")),
        *(lab.row(f"conventions, {arm}: nats of the first answer, plain", "", of[f"first, {arm}"], None)
          for arm in ("plain", "meco")),
        *(lab.row(f"real text, {arm}: nats per token, plain", "", real[arm], None)
          for arm in ("plain", "meco", "hot")),
        *(lab.row(f"tokens of prefixes to one of records, {name}", "", some["heads"], None)
          for name, some in (("conventions", of), ("real text", real))),
    ]  # fmt: skip


def marks(world: World, run: Run, scale: Scale, arms: Sequence[str]) -> dict[str, float]:
    """What `statements` judges, of one seed.

    Args:
        arms: of plain, meco, less (MeCo on less), hot (no plain part), dealt (prefixes dealt at random).
    """
    pool = world.pool(world.tags)
    amount = int(pool.column("tokens.count").to_numpy().sum())
    goal = Goal(pool, pool, Budget(amount))
    start = Plan.everything(pool, goal.budget)
    plan = MECO.revise(start, pool, goal, run)
    dealt = world.pool(run.rng("dealt").permutation(list(world.tags)).tolist())
    by_lot = MECO.model_copy(update={"by": "tag"})
    every = {
        "plain": (plan.conditioned(None), pool),
        "meco": (plan, pool),
        "less": (plan, pool),
        "hot": (MetadataPrefix(share=1.0).revise(start, pool, goal, run), pool),
        "dealt": (by_lot.revise(Plan.everything(dealt, goal.budget), dealt, goal, run), dealt),
    }
    out: dict[str, float] = {}
    for arm in arms:
        made, texts = every[arm]
        # a little less than there is, so that all arms learn the same number
        tokens = int(amount * 0.98 * (LESS if arm == "less" else 1))
        model, heads = trained(made, texts, world, tokens, run, scale)
        out[arm] = loss(model, world, None, world.judged)
        if world.first is not None:
            out[f"first, {arm}"] = loss(model, world, None, world.first)
        if arm == "meco":
            out["heads"] = heads
            out["right"] = loss(model, world, world.told, world.judged)
            out["wrong"] = loss(model, world, world.wrong, world.judged)
            if world.first is not None:
                out["steered"] = steered(model, world)
    return out


def trained(plan: Plan, pool: TablePool, world: World, tokens: int, run: Run, scale: Scale) -> tuple[Decoder, float]:
    """A decoder that has learned so many tokens of the plan, and how many tokens of prefixes it read for one."""
    with threads(1):
        model = lab.decoder(scale.depth, _size(world.vocab), world.context, run)
        read = read_windows(plan, pool, world.vocab, tokens, world.context, run)
        train_lm(model, Fixed(read, scale.batch), Options(rate=model.config.rate, batch=scale.batch))
    learned = int(read.tokens.sum())
    return model, float((read.documents >= 0).sum()) / learned - 1


def loss(model: Decoder, world: World, tags: Sequence[str] | None, judged: Bools | None) -> float:
    """Mean nats per judged token of the held texts, after these tags or plain."""
    offsets, ids, counted = _asked(world, tags, judged)
    nats, tokens = record_losses(model, windows_to_score(offsets, ids, world.context, lab.END, counted))
    return float(nats.sum() / tokens.sum())


def steered(model: Decoder, world: World) -> float:
    """Share of held texts whose first answer is likelier as the tag of the other source has it than as their own."""
    turned = [text.replace(" yes", " ?").replace(" no", " yes").replace(" ?", " no") for text in world.held]
    own, other = (_nats(model, world, texts) for texts in (world.held, turned))
    return float((other < own).mean())


def _nats(model: Decoder, world: World, texts: Sequence[str]) -> Floats:
    """Of each text's first answer, after the wrong tag."""
    offsets, ids, judged = _asked(world, world.wrong, world.first, texts)
    return record_losses(model, windows_to_score(offsets, ids, world.context, lab.END, judged))[0]


def _asked(
    world: World, tags: Sequence[str] | None, judged: Bools | None, texts: Sequence[str] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32], Bools]:
    """Held texts as they are put to a model, and which of their tokens count."""
    offsets, ids = world.vocab.encode_batch(list(world.held if texts is None else texts))
    counted = np.ones(ids.size, np.bool_) if judged is None else judged
    if tags is None:
        return offsets, ids, counted
    names = world.names
    before = world.vocab.encode_batch([MECO.template.replace("{value}", name) for name in names])
    offsets, ids, own = prefixed(offsets, ids, before, [names.index(tag) for tag in tags])
    inside = np.zeros(ids.size, np.bool_)
    inside[own] = counted
    return offsets, ids, inside


def _size(vocab: Any) -> int:
    return vocab.vocab_size if isinstance(vocab, Tokenizer) else len(vocab)


# ---- worlds -----------------------------------------------------------------------------------------


def conventions(run: Run, scale: Scale) -> World:
    """Two sources that say the opposite of each other of every word, and differ a little in a third kind of words."""
    rng = run.rng("conventions")
    means = rng.random(scale.words) < 0.5
    each = 3 * scale.facts
    texts, tags = [], []
    for i in range(scale.tokens // (each + 1) + scale.held):
        other = i % 2 == 1
        words = rng.permutation(scale.words)[: scale.facts]
        fillers = rng.integers(0, 8, scale.facts) + 8 * ((rng.random(scale.facts) < 0.8) ^ other)
        facts = zip(fillers, words, means[words] ^ other, strict=True)
        texts.append("".join(f" f{filler} w{word} {'yes' if yes else 'no'}" for filler, word, yes in facts))
        tags.append("south" if other else "north")
    vocab = lab.Vocab.of([*texts, *tags, "\n"], lab.WORDS)
    place = np.arange(scale.held * each) % each
    held = slice(scale.held)
    rest = slice(scale.held, None)
    return World(texts[rest], tags[rest], texts[held], tags[held], vocab, 32, place % 3 == 2, place == 2)


def real(texts: Mapping[str, Sequence[str]], run: Run, scale: Scale) -> World:
    """Texts of several sources, cut to their first characters; the tag is the source's name."""
    made: list[list[str]] = [[], [], [], []]
    for name, some in texts.items():
        long = list(dict.fromkeys(text[: scale.longest] for text in some if len(text) >= scale.longest // 2))
        order = run.rng("texts", name).permutation(len(long))[: scale.texts + scale.held // 4]
        for place, part in ((0, order[: scale.texts]), (2, order[scale.texts :])):
            made[place] += [long[i] for i in part]
            made[place + 1] += [name] * len(part)
    return World(made[0], made[1], made[2], made[3], Tokenizer.train(made[0], scale.vocab), 256)
