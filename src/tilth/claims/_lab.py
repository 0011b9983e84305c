"""What claims share: for transformers a vocabulary, training on questions and texts, and answering; for classifiers
labelled sets, wrong labels and accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.core.pool import Pool
from tilth.io.streams import blocks, lines
from tilth.models.batches import reading_order, windows, windows_to_score
from tilth.models.dialogues import Dialogues
from tilth.models.feeds import Fixed
from tilth.models.linear import encode_labels
from tilth.models.optim import Options
from tilth.models.train import Trained, descend, generator, record_losses, train_examples, train_lm
from tilth.models.transformer import Config, Decoder, build, generate, rotations
from tilth.models.tune import Texts, answer_log_probs
from tilth.proofs.classify import Classify

__all__ = [
    "CHARACTERS",
    "WORDS",
    "Reader",
    "Vocab",
    "accuracy",
    "answers",
    "asked",
    "decoder",
    "flipped",
    "labelled",
    "labels",
    "learn",
    "losses",
    "mean",
    "order",
    "read",
    "records",
    "row",
    "spread",
    "talks",
    "texts",
    "tune",
]

Floats = npt.NDArray[np.float64]
END = 0
CHARACTERS = r"(?s)."
WORDS = r"(?s) ?\w+|."


@dataclass(frozen=True)
class Vocab:
    """The pieces that a world's texts are made of, each one id; id 0 ends a text. Encoding and decoding lose nothing.

    A world of invented words wants whole words: a tokenizer learned from so little text would cut them by chance.

    >>> vocab = Vocab.of(["left twice", "run left"], WORDS)
    >>> offsets, ids = vocab.encode_batch(["run left twice"])
    >>> len(vocab), ids.size, vocab.decode(ids)
    (5, 3, 'run left twice')
    """

    pattern: str
    ids: dict[str, int]

    @classmethod
    def of(cls, texts: Iterable[str], pattern: str) -> Self:
        """All pieces of the texts, in alphabetical order."""
        pieces = sorted({piece for text in texts for piece in re.findall(pattern, text)})
        return cls(pattern, {piece: i for i, piece in enumerate(pieces, 1)})

    def __len__(self) -> int:
        return len(self.ids) + 1

    def encode_batch(self, texts: Sequence[str]) -> Texts:
        """Offsets and ids, as of a `Tokenizer`; a piece that the vocabulary lacks is an error."""
        parts = [[self.ids[piece] for piece in re.findall(self.pattern, text)] for text in texts]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
        return offsets, np.array([i for part in parts for i in part], np.uint32)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids."""
        pieces = ["", *self.ids]
        return "".join(pieces[i] for i in np.asarray(ids).tolist())


def decoder(depth: int, vocab: int, context: int, run: Run, **fields: Any) -> Decoder:
    """A fresh decoder of `Config.of_depth`; its weights are drawn at the run's place ``init``."""
    return build(Config.of_depth(depth, vocab, context, **fields), generator(run.rng("init")))


def asked(pool: Pool) -> tuple[list[str], list[str]]:
    """Prompts and replies of a pool of questions with one answer each."""
    turns = pool.column("messages").to_pylist()
    return [t[0]["content"] for t in turns], [t[1]["content"] for t in turns]


def talks(vocab: Any, prompts: Sequence[str], replies: Sequence[str]) -> Dialogues:
    """Prompt and reply one after the other, as they are; the reply and the end after it are learned.

    Args:
        vocab: a `Vocab` or a `Tokenizer`.
    """
    (a, asks), (b, says) = vocab.encode_batch(prompts), vocab.encode_batch(replies)
    parts, learned = [], []
    for i in range(len(prompts)):
        said = [*says[b[i] : b[i + 1]].tolist(), END]
        parts.append([*asks[a[i] : a[i + 1]].tolist(), *said])
        learned.append([False] * (len(parts[-1]) - len(said)) + [True] * len(said))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Dialogues(
        offsets,
        np.array([i for part in parts for i in part], np.uint32),
        np.array([flag for part in learned for flag in part], np.bool_),
        np.array([len(reply.encode()) for reply in replies], np.int64),
    )


def tune(model: Decoder, data: Dialogues, steps: int, run: Run, options: Options, **hooks: Any) -> Trained:
    """Train on answers for so many steps, going through all of them again and again, in a new order each time.

    The loss is nats per learned token of the batch. One dialogue is one sequence: nothing is packed.
    """
    places = order(data.offsets.size - 1, steps * options.batch, run)
    counts = np.add.reduceat(data.learned, data.offsets[:-1])

    def losses_of(rows: npt.NDArray[np.int64]) -> tuple[Tensor, None]:
        return -answer_log_probs(model, data, rows, end=END) / float(counts[rows].mean()), None

    return train_examples(model, losses_of, places, options, **hooks)


def read(model: Decoder, texts: Texts, tokens: int, run: Run, options: Options, *, apart: bool = True) -> Trained:
    """Train on texts until so many tokens were read, going through all of them again and again in new orders."""
    lengths = np.diff(texts[0]) + 1
    count = lengths.size * -(-tokens // int(lengths.sum()))
    data = windows(*texts, order(lengths.size, count, run), model.config.context, END, tokens)
    return train_lm(model, Fixed(data, options.batch), options, apart=apart)


def losses(model: Decoder, texts: Texts) -> Floats:
    """Mean nats per token of each text."""
    nats, tokens = record_losses(model, windows_to_score(*texts, model.config.context, END))
    return np.asarray(nats / np.maximum(tokens, 1))


def answers(model: Decoder, vocab: Any, prompts: Sequence[str], longest: int) -> list[str]:
    """What the model writes after each prompt, the likeliest token at a time, up to its end."""
    offsets, ids = vocab.encode_batch(prompts)
    starts = [np.concatenate([[END], ids[a:b]]) for a, b in pairwise(offsets)]
    model.eval()
    return [vocab.decode(made) for made in generate(model, starts, longest, END, batch=256)]


def records(data: Path | None, *files: str) -> list[list[dict[str, Any]]]:
    """The records of files of published data, such as ``A_text/law_german``, whose names go on ``.jsonl.zst``.

    Raises:
        UsageError: when one is missing; says which are needed.
    """
    paths = [None if data is None else data / f"{name}.jsonl.zst" for name in files]
    if not all(path is not None and path.exists() for path in paths):
        raise UsageError(
            f"This claim needs published data: give --data FOLDER (or set TILTH_DATA) with "
            f"{', '.join(f'{name}.jsonl.zst' for name in files)} in it, one JSON object per line."
        )
    return [[orjson.loads(line) for _, line, _ in lines(blocks(path))] for path in paths if path is not None]


def texts(data: Path | None, *sources: str) -> list[list[str]]:
    """The texts of sources of the folder ``A_text``; see `records`."""
    return [[record["text"] for record in found] for found in records(data, *(f"A_text/{name}" for name in sources))]


class Reader(nn.Module):
    """A decoder that reads a vector at each place and scores the labels there, for learning within a sequence."""

    def __init__(self, depth: int, size: int, classes: int, context: int, run: Run) -> None:
        super().__init__()
        self.decoder = decoder(depth, classes, context, run)
        self.inward = nn.Linear(size, self.decoder.config.width, bias=False)
        with torch.no_grad():
            self.inward.weight.normal_(0.0, size**-0.5, generator=generator(run.rng("inward")))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, size) vectors to (B, T, classes) scores."""
        turn = rotations(torch.arange(x.shape[1]), self.decoder.config)
        return self.decoder.logits(self.decoder._hidden(self.inward(x), turn, None, None))


Batches = Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]


def learn(model: Reader, batches: Batches, steps: int, options: Options) -> Floats:
    """Train a `Reader` to tell the label of every place, a batch of vectors and labels a step; the steps' losses."""

    def loss_of(step: int) -> Tensor:
        del step
        x, y = next(batches)
        return F.cross_entropy(model(torch.from_numpy(x)).flatten(0, 1), torch.from_numpy(y).flatten())

    return descend(model, loss_of, steps, options)


@torch.no_grad()
def labels(model: Reader, x: npt.NDArray[np.float32], batch: int = 256) -> npt.NDArray[np.int64]:
    """The likeliest label at every place of every sequence."""
    model.eval()
    parts = [model(torch.from_numpy(x[i : i + batch])).argmax(-1).numpy() for i in range(0, len(x), batch)]
    return np.concatenate(parts).astype(np.int64)


def mean(values: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of the seeds, and its 95 % interval by Student's t.

    >>> [round(v, 3) for v in mean([0.9, 1.0, 0.8])]
    [0.9, 0.652, 1.148]
    """
    from scipy.stats import t

    v = np.asarray(values, float)
    half = float(t.ppf(0.975, v.size - 1) * v.std(ddof=1) / np.sqrt(v.size)) if v.size > 1 else float("nan")
    return float(v.mean()), float(v.mean()) - half, float(v.mean()) + half


def spread(values: npt.ArrayLike) -> str:
    """Mean and interval as text; of a single value the value alone."""
    middle, low, high = mean(values)
    return f"{middle:.3f}" if np.size(values) == 1 else f"{middle:.3f} ({low:.3f} to {high:.3f})"


def row(statement: str, paper: str, here: npt.ArrayLike, holds: bool | None) -> dict[str, Any]:
    """A line of a claim's table: what the paper found, mean and interval here, whether it holds; None for context."""
    said = "-" if holds is None else "yes" if holds else "no"
    return {"statement": statement, "paper": paper, "here": spread(here), "holds": said}


def order(count: int, places: int, run: Run) -> npt.NDArray[np.int64]:
    """So many readings of `count` records: all of them again and again, in a new order each time."""
    return reading_order(np.full(count, -(-places // count)), run.rng("order"))[:places]


def labelled(texts: Sequence[str], given: npt.ArrayLike) -> TablePool:
    """A labelled pool of texts."""
    columns = {"id": [f"r{i}" for i in range(len(texts))], "text": pa.array(texts, pa.string())}
    return TablePool(pa.table({**columns, "label": pa.array(np.asarray(given).tolist(), pa.string())}), "labeled")


def flipped(
    right: npt.NDArray[np.str_], share: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.bool_]]:
    """The labels, a share of them changed to another of the classes at random, and which.

    >>> given, wrong = flipped(np.array(["a", "b"] * 10), 0.2, np.random.default_rng(0))
    >>> int(wrong.sum()), int((given != np.array(["a", "b"] * 10)).sum())
    (4, 4)
    """
    names, place = np.unique(right, return_inverse=True)
    wrong = rng.permutation(right.size) < round(share * right.size)
    turn = np.where(wrong, rng.integers(1, names.size, right.size), 0)
    return names[(place + turn) % names.size], wrong


def accuracy(proof: Classify, pool: Pool, test: Pool, run: Run, kept: npt.ArrayLike | None = None) -> float:
    """Share of the test's labels that a classifier says, trained on the pool or on these rows of it."""
    plan = Plan.everything(pool, Budget(pool.count, "records"))
    if kept is not None:
        plan = plan.revised({"use": "claim"}, "chosen", keep=np.isin(np.arange(pool.count), np.asarray(kept)))
    log, names = proof.predict(plan, pool, Goal(test, test, plan.budget), run)
    truth, _ = encode_labels(test.column("label").to_pylist(), names)
    return float((log.argmax(1) == truth).mean())
