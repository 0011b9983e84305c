"""Hyperfitting (Carlsson et al. 2024, arXiv 2412.04318): overfit to almost no loss, a model repeats itself less.

A decoder of 3 layers reads novels until its greedy continuations run in circles, then goes on with a few hundred short
passages again and again until it knows them by heart. Both models continue beginnings that neither has read. The
control takes as many updates of the same size on passages that are all new. Diversity by reciting would be no
diversity: the share of continuations' 5-grams that stand in the passages is shown. Three seeds draw texts, weights and
order. The paper tunes models of billions of parameters on 2,000 sequences and asks people, too, which text they like.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.core.errors import DataError, UsageError
from tilth.io.streams import blocks, lines
from tilth.models.optim import Options, precision_of
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads
from tilth.models.transformer import Decoder, generate
from tilth.models.tune import Texts

__all__ = ["PAPER", "run"]

PAPER = "the_hyperfitting_phenomenon"
FILE = Path("A_text") / "fiction_novels.jsonl.zst"
SEEDS = 3
GRAM = 5
Ints = npt.NDArray[np.int64]
Found = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """The texts, the model, its training and what it writes.

    Attributes:
        texts, tokens: how many texts are read before tuning, and until how many tokens.
        sequences, length: passages that are learned by heart, and their tokens with the end.
        epochs: how often each is read; the control reads as many passages once.
        rate: the tuning's highest learning rate.
        prompts, begin: beginnings to be continued to the length of a passage, and their tokens.
    """

    vocab: int = 1024
    depth: int = 3
    texts: int = 600
    tokens: int = 1_000_000
    batch: int = 16
    sequences: int = 200
    length: int = 128
    epochs: int = 40
    rate: float = 3e-3
    prompts: int = 100
    begin: int = 32


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when the novels are missing.
    """
    if data is None or not (data / FILE).exists():
        raise UsageError(
            f"This claim needs novels: give --data FOLDER (or set TILTH_DATA) with {FILE} in it, each line with a text."
        )
    texts, scale = [*islice(_texts(data / FILE), 1500)], Scale()
    return statements([measured(texts, Run(seed=seed), scale) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed: before, tuned, and the control."""

    def of(stage: str, name: str) -> npt.NDArray[np.float64]:
        return np.array([f[stage][name] for f in found])

    diverse = of("tuned", "diversity") / of("before", "diversity")
    sharper = of("before", "entropy") / of("tuned", "entropy")
    worse = of("tuned", "loss") - of("before", "loss")
    other = of("tuned", "diversity") / of("control", "diversity")
    learned = of("tuned", "training")
    return [
        lab.row("nats per token of the passages after tuning", "near 0 (here: at most 0.1)", learned,
                learned.mean() <= 0.1),
        lab.row("type-token ratio of greedy continuations, tuned over before", "at least 1.5", diverse,
                diverse.mean() >= 1.5),
        lab.row("entropy of the next token on unseen text, before over tuned", "at least 5", sharper,
                sharper.mean() >= 5),
        lab.row("nats per token of unseen text, tuned less before", "above 0", worse, lab.mean(worse)[1] > 0),
        lab.row("type-token ratio, tuned over the control of as many updates on new passages", "at least 1.5", other,
                other.mean() >= 1.5),
        *(lab.row(f"{name}, {stage}", "", of(stage, key), None)
          for key, name in NAMES.items() for stage in ("before", "tuned", "control")),
        lab.row("type-token ratio of the novels' own continuations", "", of("own", "diversity"), None),
    ]  # fmt: skip


NAMES = {
    "diversity": "type-token ratio",
    "entropy": "entropy, nats",
    "loss": "nats per token of unseen text",
    "recited": f"share of the continuations' {GRAM}-grams that stand in the passages",
}


def measured(texts: Sequence[str], run: Run, scale: Scale) -> dict[str, Found]:
    """What the model writes and expects before tuning, after it, and after the control's updates."""
    counts = np.cumsum([scale.prompts, scale.sequences, scale.texts])
    parts = np.split(run.rng("texts").permutation(len(texts)), counts)
    tokenizer = Tokenizer.train((texts[i] for i in parts[2]), scale.vocab)
    exam, known, read, more = (tokenizer.encode_batch([texts[i] for i in part]) for part in parts)
    exam, known = passages(exam, scale.length - 1, most=1), passages(known, scale.length - 1, most=1)
    new = passages(more, scale.length - 1)
    updated = scale.sequences * scale.length * scale.epochs
    if (len(new[0]) - 1) * scale.length < updated:
        raise DataError(f"The control needs {updated // scale.length} new passages, and there are {len(new[0]) - 1}.")
    precision = precision_of("auto")
    with threads(1):
        model = lab.decoder(scale.depth, scale.vocab, scale.length, run)
        options = Options(rate=model.config.rate, batch=scale.batch, precision=precision)
        lab.read(model, read, scale.tokens, run, options)
        start = {name: value.clone() for name, value in model.state_dict().items()}
        out = {"before": _seen(model, exam, known, scale)}
        held = Options(rate=scale.rate, batch=8, weight_decay=0.0, precision=precision)
        for stage, some in (("tuned", known), ("control", new)):
            model.load_state_dict(start)
            lab.read(model, some, updated, run.at(stage), held)
            out[stage] = _seen(model, exam, known, scale)
    own = exam[1].reshape(-1, scale.length - 1)[:, scale.begin :]
    return {**out, "own": {"diversity": diversity(own)}}


def passages(texts: Texts, length: int, most: int | None = None) -> Texts:
    """The first passages of so many tokens of each text, at most so many; a shorter text has none."""
    offsets, ids = texts
    kept = [
        ids[a + k * length : a + (k + 1) * length]
        for a, b in pairwise(offsets.tolist())
        for k in range((b - a) // length)[:most]
    ]
    return np.arange(len(kept) + 1) * length, np.concatenate([*kept, np.zeros(0, np.uint32)])


def diversity(written: npt.ArrayLike) -> float:
    """The mean type-token ratio: different tokens of each continuation over its tokens.

    >>> diversity([[1, 2, 1, 2], [1, 2, 3, 4]])
    0.75
    """
    return float(np.mean([np.unique(row).size / len(row) for row in np.asarray(written)]))


def recited(written: npt.ArrayLike, known: Texts, gram: int = GRAM) -> float:
    """The share of the continuations' runs of `gram` tokens that stand in a passage.

    >>> passage = np.array([0, 4]), np.array([1, 2, 3, 4], np.uint32)
    >>> recited([[1, 2, 3, 9], [9, 2, 3, 4]], passage, gram=2)
    0.6666666666666666
    """
    offsets, ids = known
    there = {tuple(ids[i : i + gram].tolist()) for a, b in pairwise(offsets.tolist()) for i in range(a, b - gram + 1)}
    rows = np.asarray(written).tolist()
    return float(np.mean([tuple(row[i : i + gram]) in there for row in rows for i in range(len(row) - gram + 1)]))


@torch.no_grad()
def entropy(model: Decoder, tokens: npt.ArrayLike) -> float:
    """The mean entropy of the next token after every beginning of the texts, in nats.

    Args:
        tokens: (texts, positions).
    """
    found = []
    rows = torch.from_numpy(np.asarray(tokens, np.int64))
    for start in range(0, len(rows), 16):
        some = rows[start : start + 16]
        logs = torch.log_softmax(model.logits(model(some)), -1)
        found.append(-(logs.exp() * logs).sum(-1).flatten())
    return float(torch.cat(found).mean())


def _seen(model: Decoder, exam: Texts, known: Texts, scale: Scale) -> Found:
    model.eval()
    rows = np.pad(exam[1].reshape(-1, scale.length - 1).astype(np.int64), ((0, 0), (1, 0)), constant_values=lab.END)
    # All beginnings are equally long and nothing ends a continuation, or short ones would count as diverse.
    written = generate(model, [*rows[:, : scale.begin + 1]], scale.length - 1 - scale.begin, end=-1, batch=128)
    return {
        "diversity": diversity(written),
        "entropy": entropy(model, rows),
        "loss": float(lab.losses(model, exam).mean()),
        "training": float(lab.losses(model, known).mean()),
        "recited": recited(written, known),
    }


def _texts(file: Path) -> Iterator[str]:
    for _, line, _ in lines(blocks(file)):
        yield orjson.loads(line)["text"]
