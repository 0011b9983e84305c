"""Trainers of answers, preferences, labels, soft labels and passages: plain functions, token arrays in, losses out.

All read examples in the order they are given (`batches.reading_order`), resume from a `Checkpoint` to the same bits and
take the hooks of `train.train_examples` (`measure`, `points`, `weigh`, `watch`, `save`) as keywords. The id that ends a
document, `end`, is 0 as in `Tokenizer.train`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from tilth.models.batches import Packing, Windows, by_length, padded, windows_of_rounds
from tilth.models.dialogues import Dialogues
from tilth.models.feeds import Batch, Fixed
from tilth.models.losses import distillation_losses, dpo_losses, info_nce_losses
from tilth.models.optim import Options
from tilth.models.train import Trained, train_examples, train_lm
from tilth.models.transformer import Classifier, Decoder

__all__ = [
    "Beside",
    "SoftTargets",
    "Texts",
    "absent",
    "answer_log_probs",
    "answer_tokens",
    "classify",
    "embed",
    "padded_to",
    "pooled",
    "soften",
    "train_classifier",
    "train_contrastive",
    "train_distilled",
    "train_dpo",
    "train_sft",
    "train_sft_dpo",
]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Texts = tuple[Ints, npt.NDArray[np.uint32]]
"""Offsets and ids: what `Tokenizer.encode_batch` returns."""
Beside = Callable[[Ints, Tensor, Tensor], Tensor]
"""From rows (B,), their pooled features (B, D) and scores (B, classes): a further loss of each, (B,)."""


# ---- answers -------------------------------------------------------------------------------------


def train_sft(
    model: Decoder,
    talks: Dialogues,
    order: Ints,
    options: Options,
    *,
    end: int = 0,
    packing: Packing = "next_fit",
    rng: np.random.Generator | None = None,
    stage: npt.ArrayLike | None = None,
    **hooks: Any,
) -> Trained:
    """Supervised tuning: only the assistant's tokens are learned, and no answer is cut.

    Dialogues share windows of the model's context without seeing one another; ``options.batch`` counts windows. One
    that is longer than a window is cut between its rounds, and `Trained.left_out` names those with a round that fits
    no window. Dialogues with nothing to learn are passed over.

    Args:
        talks: from `encode_dialogues` with ``end``.
        packing, rng: ``next_fit`` reads in the order given, ``best_fit`` in fewer windows; see `batches.rows_of`.
        stage: of each place of the order; no window holds two of them unless they are packed by ``next_fit``.
        hooks: those of `train.train_lm`.
    """
    device = model.embedding.weight.device
    packed, left_out = windows_of_rounds(
        talks.offsets, talks.ids, talks.learned, order, model.config.context, end, packing=packing, rng=rng, stage=stage
    )
    return replace(train_lm(model, Fixed(packed, options.batch, str(device)), options, **hooks), left_out=left_out)


def answer_log_probs(model: Decoder, talks: Dialogues, rows: Ints, *, end: int = 0) -> Tensor:
    """The log-probability of the assistant's tokens of each dialogue, summed, (B,)."""
    device = model.embedding.weight.device
    inputs, targets = (torch.from_numpy(a).to(device) for a in answer_tokens(talks, rows, end=end))
    return -model.losses(inputs, targets).sum(1)


def answer_tokens(talks: Dialogues, rows: Ints, *, end: int = 0) -> tuple[Ints, Ints]:
    """What is read of each dialogue and what is learned, (B, T) each; -1 where a token is not an assistant's."""
    ids, real = padded(talks.offsets, talks.ids, rows, int(np.diff(talks.offsets)[rows].max(initial=1)))
    learned = np.zeros(ids.shape, np.bool_)
    learned[real] = np.concatenate([talks.learned[talks.offsets[r] : talks.offsets[r + 1]] for r in rows])
    return np.concatenate([np.full((len(rows), 1), end), ids[:, :-1]], 1), np.where(learned, ids, -1)


# ---- preferences ---------------------------------------------------------------------------------


def train_dpo(
    model: Decoder,
    chosen: Dialogues,
    rejected: Dialogues,
    order: Ints,
    options: Options,
    *,
    beta: float = 0.1,
    end: int = 0,
    reference: Decoder | None = None,
    **hooks: Any,
) -> Trained:
    """Direct preference optimisation on pairs: row i of `chosen` is preferred to row i of `rejected`.

    Args:
        beta: how dear it is to move away from the reference.
        reference: what the model is held to; the model as it is now when None. Its log-probabilities are computed once.
        hooks: `weigh` and `watch` see the implicit reward's margins as `Examples.extra`.
    """
    known = np.unique(order)
    held = {
        side: _all_log_probs(reference or model, talks, known, end)
        for side, talks in (("chosen", chosen), ("rejected", rejected))
    }

    def losses_of(rows: Ints) -> tuple[Tensor, Tensor]:
        place = torch.from_numpy(np.searchsorted(known, rows))
        better, worse = (answer_log_probs(model, talks, rows, end=end) for talks in (chosen, rejected))
        return dpo_losses(better, worse, held["chosen"][place], held["rejected"][place], beta)

    return train_examples(model, losses_of, order, options, **hooks)


def train_sft_dpo(
    model: Decoder,
    chosen: Dialogues,
    rejected: Dialogues,
    order: Ints,
    first: Options,
    second: Options,
    *,
    beta: float = 0.1,
    end: int = 0,
    **hooks: Any,
) -> tuple[Trained, Trained]:
    """Supervised tuning on the chosen answers, then preference tuning held to what came of it."""
    save = hooks.pop("save", None)
    tuned = train_sft(model, chosen, order, first, end=end, save=save and save.keyed("sft"))
    save = save and save.keyed("dpo")
    return tuned, train_dpo(model, chosen, rejected, order, second, beta=beta, end=end, save=save, **hooks)


@torch.no_grad()
def _all_log_probs(model: Decoder, talks: Dialogues, rows: Ints, end: int, batch: int = 64) -> Tensor:
    out = torch.zeros(len(rows), device=model.embedding.weight.device)
    for some in by_length(np.diff(talks.offsets)[rows], batch):
        out[torch.from_numpy(some)] = answer_log_probs(model, talks, rows[some], end=end)
    return out


# ---- labels --------------------------------------------------------------------------------------


def train_classifier(
    model: Classifier,
    texts: Texts,
    labels: npt.NDArray[Any],
    order: Ints,
    options: Options,
    *,
    beside: Beside | None = None,
    classes: Collection[int] | None = None,
    **hooks: Any,
) -> Trained:
    """Train a classifier; texts are cut to its context.

    Args:
        labels: (n,) class numbers, or (n, classes) probabilities; both by cross entropy.
        beside: a loss (B,) that is added to the labels', from the rows, their pooled features and their scores; see
            `continual.answers_kept`.
        classes: the cross entropy is over these alone, so that a task does not push down the classes of others.
        hooks: `weigh` and `watch` see the scores as `Examples.extra`; ``exp(-losses)`` is the probability of the label.
    """
    device = model.head.weight.device
    kind = torch.float32 if labels.ndim == 2 else torch.int64
    wanted = torch.from_numpy(np.asarray(labels)).to(device, kind)

    if classes is not None and (labels.ndim == 2 or not np.isin(labels[order], sorted(classes)).all()):
        raise ValueError("with `classes`, labels must be numbers of these classes: a loss of others is infinite")
    off = absent(model.head.out_features, classes).to(device)

    def losses_of(rows: Ints) -> tuple[Tensor, Tensor]:
        features = model.encoder.pooled(*padded_to(model.encoder, texts, rows))
        scores: Tensor = model.head(features)
        losses = F.cross_entropy(scores.masked_fill(off, -torch.inf), wanted[torch.from_numpy(rows)], reduction="none")
        return losses if beside is None else losses + beside(rows, features, scores), scores

    return train_examples(model, losses_of, order, options, **hooks)


def absent(count: int, classes: Collection[int] | None) -> Tensor:
    """(count,) True for each class that is not among these; None stands for all of them.

    Raises:
        ValueError: when none is left.
    """
    off = torch.full((count,), classes is not None)
    if classes is not None:
        off[torch.tensor(sorted(classes), dtype=torch.int64)] = False
    if bool(off.all()):
        raise ValueError("no class takes part; name at least one")
    return off


@torch.no_grad()
def classify(model: Classifier, texts: Texts, batch: int = 64) -> Floats:
    """The probability of every class, (n, classes)."""
    out = np.zeros((len(texts[0]) - 1, model.head.out_features))
    for rows in by_length(np.diff(texts[0]), batch):
        out[rows] = F.softmax(model(*padded_to(model.encoder, texts, rows)), -1).cpu().numpy()
    return out


@torch.no_grad()
def pooled(model: Classifier, texts: Texts, batch: int = 64) -> npt.NDArray[np.float32]:
    """What the classifier's last layer reads, (n, D): `classify` is the softmax of its scores."""
    training = model.training
    model.eval()
    out = np.zeros((len(texts[0]) - 1, model.encoder.config.width), np.float32)
    for rows in by_length(np.diff(texts[0]), batch):
        out[rows] = model.encoder.pooled(*padded_to(model.encoder, texts, rows)).cpu().numpy()
    model.train(training)
    return out


# ---- soft labels ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's largest logits at every position of some windows: ids and logits, each (windows, context, k)."""

    ids: npt.NDArray[np.int32]
    logits: npt.NDArray[np.float32]


@torch.no_grad()
def soften(teacher: Decoder, data: Windows, k: int, *, apart: bool = True, batch: int = 16) -> SoftTargets:
    """What a teacher expects at every position, its `k` likeliest ids; 8 bytes x k a token."""
    device = teacher.embedding.weight.device
    shape = (*data.inputs.shape, min(k, teacher.config.vocab))
    made = SoftTargets(np.zeros(shape, np.int32), np.zeros(shape, np.float32))
    for start in range(0, len(data), batch):
        rows = np.arange(start, min(start + batch, len(data)))
        part = Batch.of(data.take(rows), str(device))
        found = teacher.logits(teacher(part.inputs, part.documents if apart else None)).topk(shape[-1], -1)
        made.ids[rows], made.logits[rows] = found.indices.cpu().numpy(), found.values.cpu().numpy()
    return made


def train_distilled(
    student: Decoder,
    data: Windows,
    soft: SoftTargets,
    order: Ints,
    options: Options,
    *,
    temperature: float = 1.0,
    share: float = 1.0,
    apart: bool = True,
    **hooks: Any,
) -> Trained:
    """Train a student to expect what a teacher expects: KL on soft targets, mixed with the loss on the text itself.

    Args:
        data: the windows that `soft` was made from; `order` counts windows.
        share: weight of the soft targets; 1 - share is that of the text.
    """
    device = student.embedding.weight.device

    def losses_of(rows: Ints) -> tuple[Tensor, None]:
        part = Batch.of(data.take(rows), str(device))
        learned = part.targets >= 0
        hidden = student(part.inputs, part.documents if apart else None)[learned]
        logits = student.logits(hidden)
        ids = torch.from_numpy(soft.ids[rows].astype(np.int64)).to(device)[learned]
        teacher = torch.from_numpy(soft.logits[rows]).to(device)[learned]
        losses = share * distillation_losses(logits, ids, teacher, temperature)
        if share < 1:
            losses = losses + (1 - share) * F.cross_entropy(logits, part.targets[learned], reduction="none")
        count = learned.sum(1)
        row = torch.arange(len(rows), device=device).repeat_interleave(count)
        return torch.zeros(len(rows), device=device).index_add(0, row, losses) / count.clamp(min=1), None

    return train_examples(student, losses_of, order, options, **hooks)


# ---- passages ------------------------------------------------------------------------------------


def train_contrastive(
    encoder: Decoder,
    queries: Texts,
    passages: Texts,
    positive: Ints,
    negatives: Sequence[Sequence[int]],
    order: Ints,
    options: Options,
    *,
    temperature: float = 0.05,
    relevant: Sequence[Sequence[int]] | None = None,
    **hooks: Any,
) -> Trained:
    """Train an encoder to place queries near their passages and far from all others of the batch.

    The others are the positives of the batch's other queries and the negatives given for any of them. A passage that
    is a query's own positive is never its negative, however often it occurs in the batch.

    Args:
        positive: (n,) the passage of each query.
        negatives: other passages of each query; may be empty.
        relevant: further passages that answer each query; the batch does not push it away from them.
    """
    device = encoder.embedding.weight.device

    def losses_of(rows: Ints) -> tuple[Tensor, None]:
        given = [passage for row in rows for passage in negatives[row]]
        pool = np.unique(np.concatenate([positive[rows], np.array(given, np.int64)]))
        ours = F.normalize(encoder.pooled(*padded_to(encoder, queries, rows)), dim=-1)
        theirs = F.normalize(encoder.pooled(*padded_to(encoder, passages, pool)), dim=-1)
        place = torch.from_numpy(np.searchsorted(pool, positive[rows])).to(device)
        spared = None
        if relevant is not None:
            spared = torch.from_numpy(np.stack([np.isin(pool, np.array(relevant[row], np.int64)) for row in rows]))
            spared = spared.to(device)
        return info_nce_losses(ours, theirs, place, temperature, spared), None

    return train_examples(encoder, losses_of, order, options, **hooks)


@torch.no_grad()
def embed(encoder: Decoder, texts: Texts, batch: int = 64) -> npt.NDArray[np.float32]:
    """Embeddings of length 1, (n, D), of texts cut to the encoder's context."""
    out = np.zeros((len(texts[0]) - 1, encoder.config.width), np.float32)
    for rows in by_length(np.diff(texts[0]), batch):
        out[rows] = F.normalize(encoder.pooled(*padded_to(encoder, texts, rows)), dim=-1).cpu().numpy()
    return out


def padded_to(encoder: Decoder, texts: Texts, rows: Ints) -> tuple[Tensor, Tensor]:
    """Ids of some texts, cut to the encoder's context, and which are real; on its device."""
    device = encoder.embedding.weight.device
    ids, real = padded(*texts, rows, encoder.config.context)
    return torch.from_numpy(ids).to(device), torch.from_numpy(real).to(device)
