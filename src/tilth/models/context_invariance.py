"""Corpus-invariant tuning (CIT): a reader is kept from learning by heart the contexts it is given.

A reader that is tuned on questions with retrieved contexts also learns the contexts, and then answers what they said
when the corpus has changed since. `ContextInvariance` adds to its loss how far the likelihood of the contexts has risen
above what it was before. `memorisation_gap` measures how much it did rise.

Source: Zhang et al. 2024, "Towards Better Generalization in Open-Domain Question Answering by Mitigating Context
Memorization" (arXiv 2404.01652). The paper measures the likelihood by predicting masked spans with an encoder-decoder;
the form for a decoder, a hinge on the mean log-likelihood of the tokens, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.models.batches import by_length, padded
from tilth.models.feeds import Batch
from tilth.models.losses import likelihood_rises
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts

__all__ = ["ContextInvariance", "likelihoods", "memorisation_gap"]


class ContextInvariance:
    """What is added to a reader's loss, for `train.train_lm` and `tune.train_sft`'s `beside`.

    ``strength`` times the mean, over the different contexts of a step's records, of ``max(0, l(c) - l0(c))``, where l
    is the mean log-likelihood of a context's tokens, read alone, and l0 what it was when this was made. A context that
    has become less likely costs nothing: what is restrained is the rise. (A penalty on the likelihood itself has no
    floor and takes the language model apart.)

    Cost: one more pass, over the step's contexts; l0 is computed once, a number a context. Make it before training and
    in the precision of the training, or rounding is taken for a rise.

    Args:
        model: the reader that is to be trained, as it is before.
        contexts: all contexts, each cut to the model's context.
        read: of each record of the feed, which contexts it is given.
        strength: alpha; choose the largest at which the answers on the corpus itself are as good as without.
        end: the id that stands before a text.

    Raises:
        ValueError: when strength is no number of at least 0, a context is empty, or a record has one that is not there.
    """

    def __init__(
        self, model: Decoder, contexts: Texts, read: Sequence[npt.ArrayLike], strength: float = 1.0, *, end: int = 0
    ) -> None:
        if not 0 <= strength < float("inf"):
            raise ValueError(f"strength must be a number of at least 0; got {strength}")
        self.model, self.contexts, self.strength, self.end = model, contexts, strength, end
        self.read = [np.asarray(some, np.int64).ravel() for some in read]
        there = len(contexts[0]) - 1
        if any(some.min(initial=0) < 0 or some.max(initial=-1) >= there for some in self.read):
            raise ValueError(f"a record is given a context that is not among the {there}")
        training = model.training
        model.eval()
        self.first = torch.zeros(there, device=model.embedding.weight.device)
        with torch.no_grad():
            for rows in by_length(np.diff(contexts[0]), 64):
                self.first[torch.from_numpy(rows)] = likelihoods(model, contexts, rows, end=end)
        model.train(training)

    def __call__(self, batch: Batch, hidden: Tensor) -> Tensor:
        """What is added to the loss of a step."""
        records = np.unique(batch.records[batch.records >= 0])
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *(self.read[record] for record in records)]))
        if not rows.size:
            return hidden.sum() * 0.0
        now = likelihoods(self.model, self.contexts, rows, end=self.end)
        return self.strength * likelihood_rises(now, self.first[torch.from_numpy(rows)]).mean()


def likelihoods(model: Decoder, texts: Texts, rows: npt.NDArray[np.int64], *, end: int = 0) -> Tensor:
    """Mean log-likelihood, in nats, of the tokens of some texts, each read alone and cut to the model's context, (B,).

    Raises:
        ValueError: when a text is empty.
    """
    ids, real = padded(*texts, rows, model.config.context)
    if not real.any(1).all():
        raise ValueError("an empty text has no likelihood a token; leave it out")
    device = model.embedding.weight.device
    inputs = torch.from_numpy(np.concatenate([np.full((len(rows), 1), end), ids[:, :-1]], 1)).to(device)
    targets = torch.from_numpy(np.where(real, ids, -1)).to(device)
    return -model.losses(inputs, targets).sum(1) / (targets >= 0).sum(1)


@torch.no_grad()
def memorisation_gap(model: Decoder, trained: Texts, fresh: Texts, *, end: int = 0) -> float:
    """How much likelier, in nats a token, contexts of the training are than fresh ones of the same kind.

    About 0 before training; what it is afterwards was memorised, whatever training did to texts of that kind.
    """
    means = []
    for texts in (trained, fresh):
        parts = [likelihoods(model, texts, rows, end=end) for rows in by_length(np.diff(texts[0]), 64)]
        means.append(float(torch.cat(parts).mean()))
    return means[0] - means[1]
