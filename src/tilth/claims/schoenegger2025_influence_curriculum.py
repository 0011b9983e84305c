"""Influence-driven curriculum (Schoenegger et al. 2025, arXiv 2508.15475): sorted passes, whichever way.

`InfluenceAverage` trains a small language model on six real sources in random order and says, after each pass, how well
the gradient of a text agrees with that of all. A new model then reads the same texts as often, each pass sorted by the
influence after that pass, upwards or downwards, or in random order. What counts is the loss on other texts at the end.
Controls: sorted by influence that was dealt to other texts, and one source after another, an order that should harm.

The paper trains RoBERTa and Llama models on up to 100 million words and takes gradients of the input embeddings; the
signal takes those of the output layer. Not run: its benchmarks, and its variants that drop, smooth or alternate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.stats import spearmanr

from tilth.claims import _lab as lab
from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.batches import windows
from tilth.models.feeds import Fixed
from tilth.models.learner import Learner
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads, train_lm
from tilth.signals.influence.influence_average import InfluenceAverage

__all__ = ["PAPER", "run"]

PAPER = "influencedriven_curriculum_learning_for_pretraining_on"
SOURCES = (
    "chat_irc_ubuntu",
    "encyclopedia_factbook",
    "fiction_novels",
    "health_medquad",
    "law_german",
    "math_stacks",
)
SEEDS = 5
ARMS = ("random", "upwards", "downwards", "dealt", "by source")
SAME = 0.05
"""Nats per token that are taken for no difference; set before the run."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Texts of each source, and the model.

    Attributes:
        texts, held: texts of a source that are read, and others on which the loss is measured.
        longest: characters of a text.
    """

    texts: int = 60
    held: int = 30
    longest: int = 250
    passes: int = 4
    depth: int = 2
    vocab: int = 512
    context: int = 64
    batch: int = 8


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when a source's file is missing.
    """
    texts = lab.texts(data, *SOURCES)
    return statements([marks(texts, Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}

    def same(values: Floats) -> bool:
        _, low, high = lab.mean(values)
        return low > -SAME and high < SAME

    way = of["upwards"] - of["downwards"]
    less = {arm: of[arm] - of["random"] for arm in ARMS[1:]}
    return [
        lab.row("final loss, upwards less downwards", f"no difference (here: interval within {SAME})", way, same(way)),
        *(lab.row(f"final loss, {arm} less random order", "below 0", less[arm], lab.mean(less[arm])[2] < 0)
          for arm in ("upwards", "downwards")),
        lab.row("control: sorted by dealt influence less random order", f"0 (here: interval within {SAME})",
                less["dealt"], same(less["dealt"])),
        lab.row("control: one source after another less random order", "above 0", less["by source"],
                lab.mean(less["by source"])[1] > 0),
        *(lab.row(f"final loss, {arm}, nats per token", "", of[arm], None) for arm in ARMS),
        lab.row("share of the variance of influence that lies between sources", "", of["between"], None),
        lab.row("rank correlation of influence after the first and after the last pass", "", of["first and last"],
                None),
    ]  # fmt: skip


def marks(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed: the final loss of each arm, and what influence is like."""
    read, held, source = drawn(texts, run, scale)
    influence = influences(read, run, scale)
    tokenizer = Tokenizer.train(read, scale.vocab)
    train, test = tokenizer.encode_batch(read), tokenizer.encode_batch(held)
    out: dict[str, float] = {}
    for arm in ARMS:
        order = np.concatenate(passes(arm, influence, source, run))
        with threads(1):
            model = lab.decoder(scale.depth, tokenizer.vocab_size, scale.context, run)
            feed = Fixed(windows(*train, order, scale.context, lab.END), scale.batch)
            train_lm(model, feed, Options(rate=model.config.rate, batch=scale.batch))
            out[arm] = float(lab.losses(model, test).mean())
    middle = influence.mean(1)
    means = np.array([middle[source == s].mean() for s in source])
    return out | {
        "between": float(means.var() / middle.var()),
        "first and last": float(spearmanr(influence[:, 0], influence[:, -1]).statistic),
    }


def drawn(texts: Sequence[Sequence[str]], run: Run, scale: Scale) -> tuple[list[str], list[str], Ints]:
    """Texts to read, others to measure on, cut to their first characters, and the sources of the first."""
    read: list[str] = []
    held: list[str] = []
    for s, some in enumerate(texts):
        long = list(dict.fromkeys(text[: scale.longest] for text in some if len(text) >= scale.longest // 2))
        order = run.rng("texts", s).permutation(len(long))[: scale.texts + scale.held]
        read += [long[i] for i in order[: scale.texts]]
        held += [long[i] for i in order[scale.texts :]]
    return read, held, np.repeat(np.arange(len(texts)), scale.texts)


def influences(texts: Sequence[str], run: Run, scale: Scale) -> Floats:
    """Influence of each text after each pass, (texts, passes), by `InfluenceAverage`."""
    learner = Learner(
        model="lm", seeds=1, passes=scale.passes, depth=scale.depth, vocab=scale.vocab, context=scale.context,
        batch=scale.batch, tokens=max(1000, sum(map(len, texts))), longest=scale.longest,
    )  # fmt: skip
    pool = TablePool(pa.table({"id": [str(i) for i in range(len(texts))], "text": list(texts)}))
    signal = InfluenceAverage(learner=learner)
    scored = score_in_memory(signal, pool, run=replace(run, device="cpu"))
    return np.array(scored.column("influence_average.by_pass").to_pylist(), float)


def passes(arm: str, influence: Floats, source: Ints, run: Run) -> list[Ints]:
    """The order of the texts in each pass of an arm."""
    count, number = influence.shape
    shuffled = [run.rng("order", t).permutation(count) for t in range(number)]
    if arm == "random":
        return shuffled
    if arm == "by source":
        return [some[np.argsort(source[some], kind="stable")] for some in shuffled]
    if arm == "dealt":
        influence = influence[run.rng("dealt").permutation(count)]
    way = -1 if arm == "downwards" else 1
    return [np.argsort(way * influence[:, t], kind="stable") for t in range(number)]
