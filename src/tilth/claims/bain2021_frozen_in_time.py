"""A curriculum over lengths (Bain et al. 2021, arXiv 2104.00650, on text): one segment first, then two, then four.

An encoder from scratch learns to place a sentence near the passage it was taken out of (the inverse cloze task of Lee
et al. 2019), with all other passages of the batch as negatives. Passages are beginnings of encyclopedia entries and
scientific abstracts; the sentence may be any of theirs. Both are cut to segments of 48 tokens: four from the start
("full"), or one for six tenths of the steps, then two and four for two tenths each ("curriculum"). Judged is the recall
of held-out sentences, passages read at four segments. More arms: the curriculum for as many tokens as "full" read, one
segment throughout, and the curriculum with a vector per segment that starts random rather than at zero. The paper
trains on images and videos.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.core.errors import BadInput
from tilth.models.length_curriculum import LengthCurriculum, Segmented, segments_of
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import generator, threads
from tilth.models.transformer import Config
from tilth.models.tune import Texts, embed, train_contrastive

__all__ = ["PAPER", "run"]

PAPER = "frozen_in_time"
SOURCES: Final = ("encyclopedia_simplewiki", "science_arxiv_2025")
SHORTEST, LONGEST = 400, 800
"""Characters of a passage, with the sentence that is taken out."""
MARGIN: Final = 0.01
"""Recall that may be lost before the curriculum is called worse."""
SEEDS = 3
LONGER = "curriculum, as many tokens"
RANDOM = "curriculum, random vectors"
ARMS = ("full", "curriculum", LONGER, "one segment", RANDOM)
LABELS = {
    "recall": "recall at 10",
    "first": "recall at 10, one segment read",
    "rank": "mean reciprocal rank",
    "tokens": "millions of tokens read",
    "seconds": "seconds of training",
}
Found = Mapping[str, float]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """The pairs, the encoder and its training.

    Attributes:
        pairs: passages with a sentence each.
        held: pairs held out, whose passages are what a sentence searches.
        length: tokens of a segment.
        stages: segments and share of the steps, of the curriculum.
    """

    pairs: int = 8000
    held: int = 1000
    vocab: int = 4096
    depth: int = 2
    length: int = 48
    stages: tuple[tuple[int, float], ...] = ((1, 0.6), (2, 0.2), (4, 0.2))
    steps: int = 300
    batch: int = 32
    rate: float = 3e-3


@dataclass(frozen=True)
class World:
    """Sentences and passages as tokens, row i of one belongs to row i of the other; the last `held` are held out."""

    questions: Texts
    passages: Texts


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when the published data is missing; says which is needed.
    """
    texts = [text for found in lab.texts(data, *SOURCES) for text in found]
    return statements([measured(texts, Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str) -> npt.NDArray[np.float64]:
        return np.array([f[arm][name] for f in found])

    spent = of("curriculum", "seconds") / of("full", "seconds")
    gain, longer = (of(arm, "recall") - of("full", "recall") for arm in ("curriculum", LONGER))
    short = np.maximum(of("one segment", "recall"), of("one segment", "first"))  # read at the better of two lengths
    more, zero = of("curriculum", "recall") - short, of("curriculum", "recall") - of(RANDOM, "recall")
    kept = f"not below 0 (here: at least -{MARGIN})"
    return [
        lab.row("processor time of training, curriculum over full, equal steps", "at most 0.6", spent,
                spent.mean() <= 0.6),
        lab.row("recall at 10, curriculum less full, equal steps", kept, gain, gain.mean() >= -MARGIN),
        lab.row("recall at 10, curriculum less full, equal tokens", kept, longer, longer.mean() >= -MARGIN),
        lab.row("recall at 10, curriculum less one segment throughout", "above 0", more, lab.mean(more)[1] > 0),
        lab.row("recall at 10, vectors from zero less from random", "above 0", zero, lab.mean(zero)[1] > 0),
        *(lab.row(f"{arm}: {LABELS[name]}", "", of(arm, name), None) for name in LABELS for arm in ARMS),
    ]  # fmt: skip


def cloze(text: str, rng: np.random.Generator) -> tuple[str, str] | None:
    """A sentence of a text's beginning, and the rest of that; None where the text is too short."""
    sentences, size = list[str](), 0
    for sentence in re.split(r"(?<=[.!?])\s+", " ".join(text.split())):
        if size + len(sentence) > LONGEST:
            break
        sentences.append(sentence)
        size += len(sentence) + 1
    long = [i for i, sentence in enumerate(sentences) if 40 <= len(sentence) <= 200]
    if size < SHORTEST or len(sentences) < 4 or not long:
        return None
    taken = int(rng.choice(long))
    return sentences[taken], " ".join(sentences[:taken] + sentences[taken + 1 :])


def world(texts: Sequence[str], run: Run, scale: Scale) -> World:
    """Pairs from different texts as tokens; the tokenizer is learned from those to train on.

    Raises:
        BadInput: when the texts do not give so many.
    """
    rng, chosen = run.rng("pairs"), dict[str, str]()
    for i in rng.permutation(len(texts)).tolist():
        if len(chosen) < scale.pairs and (made := cloze(texts[i], rng)) is not None:
            chosen[made[1]] = made[0]
    if len(chosen) < scale.pairs:
        raise BadInput(f"These {len(texts):,} texts give {len(chosen):,} passages; the claim wants {scale.pairs:,}.")
    pairs = [(ask, told) for told, ask in chosen.items()]
    tokenizer = Tokenizer.train([text for pair in pairs[: -scale.held] for text in pair], vocab=scale.vocab)
    questions, passages = (tokenizer.encode_batch([pair[k] for pair in pairs]) for k in range(2))
    return World(questions, passages)


def measured(texts: Sequence[str], run: Run, scale: Scale) -> dict[str, Found]:
    """Of each arm the recall of held-out sentences, and what its training cost."""
    made = world(texts, run, scale)
    most = scale.stages[-1][0]
    whole = _tokens(made, scale, ((most, 1.0),), scale.steps, run)
    found: dict[str, Found] = {}
    with threads(1):
        for arm in ARMS:
            stages = {"full": ((most, 1.0),), "one segment": ((1, 1.0),)}.get(arm, scale.stages)
            steps = scale.steps
            if arm == LONGER:
                steps = round(steps * whole / _tokens(made, scale, stages, steps, run))
            found[arm] = _trained(made, run, scale, stages, steps, zero=arm != RANDOM)
    return found


def _order(made: World, scale: Scale, steps: int, run: Run) -> Ints:
    return lab.order(len(made.questions[0]) - 1 - scale.held, steps * scale.batch, run)


def _tokens(made: World, scale: Scale, stages: Sequence[tuple[int, float]], steps: int, run: Run) -> float:
    """Millions of tokens that sentences and cut passages have in a training."""
    rows = _order(made, scale, steps, run).reshape(steps, -1)
    asked, told = (np.diff(texts[0])[rows] for texts in (made.questions, made.passages))
    cut = scale.length * segments_of(stages, steps)[:, None]
    return float(np.minimum(asked, cut).sum() + np.minimum(told, cut).sum()) / 1e6


def _trained(
    made: World, run: Run, scale: Scale, stages: Sequence[tuple[int, float]], steps: int, zero: bool
) -> dict[str, float]:
    most = scale.stages[-1][0]
    shape = Config.of_depth(scale.depth, scale.vocab, causal=False)
    encoder = Segmented.built(shape, generator(run.rng("init")), length=scale.length, segments=most)
    if not zero:
        torch.nn.init.normal_(encoder.segment_embedding, 0.0, 0.1, generator=generator(run.rng("places")))
    growing = LengthCurriculum(encoder, steps, stages)
    none: list[list[int]] = [[] for _ in made.questions[0][1:]]
    options = Options(rate=scale.rate, batch=scale.batch)
    began = time.process_time()
    train_contrastive(
        encoder, made.questions, made.passages, np.arange(len(none)), none, _order(made, scale, steps, run), options,
        watch=growing,
    )  # fmt: skip
    took = time.process_time() - began
    encoder.eval()
    recall, rank = _recall(encoder, made, scale, most)
    first, _ = _recall(encoder, made, scale, 1)
    tokens = _tokens(made, scale, stages, steps, run)
    return {"recall": recall, "first": first, "rank": rank, "tokens": tokens, "seconds": took}


def _recall(encoder: Segmented, made: World, scale: Scale, segments: int) -> tuple[float, float]:
    """Of held-out sentences: how many find their passage among the first ten, and the mean of 1 / its rank."""
    encoder.read(segments)
    ours, theirs = (embed(encoder, _last(texts, scale.held)) for texts in (made.questions, made.passages))
    scores = ours @ theirs.T
    if not np.isfinite(scores).all():
        raise RuntimeError("the encoder's embeddings are not finite; train at a lower rate")
    place = (scores >= np.diag(scores)[:, None]).sum(1) - 1  # what ties with the right one counts as before it
    return float((place < 10).mean()), float((1 / (1 + place)).mean())


def _last(texts: Texts, count: int) -> Texts:
    offsets, ids = texts
    return offsets[-count - 1 :] - offsets[-count - 1], ids[offsets[-count - 1] :]
