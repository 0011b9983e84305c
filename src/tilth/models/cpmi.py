"""Contextual pointwise mutual information: what the words of a sentence tell of one another, to a masked model.

CPMI of words i and j is log p(i | all but i) - log p(i | all but i and j), averaged with the same of (j, i): how much
likelier a word becomes when the model sees the other. The spanning tree with the largest sum is a guess at the
sentence's dependencies; `uuas` is the share of true links in it. Sentences are arrays of ids, one a word; id 0 fills
up, id 1 is the mask. Source: Hoover et al. 2021, arXiv 2104.08685.

>>> import numpy as np
>>> from tilth.core import Run
>>> pairs = [np.array([2, 4, 3]), np.array([5, 4, 6])] * 20  # 2 goes with 3 and 5 with 6
>>> model = masked_model(pairs, 7, Run(), depth=1, steps=200, batch=8)
>>> values, guessed = contextual(model, np.array([5, 4, 6]))
>>> sorted(tree(values))[0], guessed > 0.5
((0, 2), True)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

from tilth.core import Run
from tilth.models.batches import reading_order
from tilth.models.optim import Options
from tilth.models.train import generator, train_examples
from tilth.models.transformer import Config, Decoder, build

__all__ = ["FILL", "MASK", "Links", "contextual", "masked_model", "parents", "pmi", "symmetric", "tree", "uuas"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Links = frozenset[tuple[int, int]]
FILL, MASK = 0, 1


def masked_model(
    sentences: Sequence[Ints], size: int, run: Run, *, depth: int, steps: int, batch: int, context: int = 32
) -> Decoder:
    """A masked language model; one to half of a sentence's words are hidden at a time, as CPMI hides one and two.

    Args:
        size: ids that there are.
        context: words of the longest sentence.
    """
    config = Config.of_depth(depth, size, context, causal=False)
    model = build(config, generator(run.rng("init"))).to(run.device)
    rng = run.rng("masks")
    order = reading_order(np.full(len(sentences), -(-steps * batch // len(sentences))), run.rng("order"))

    def losses_of(rows: Ints) -> tuple[Tensor, None]:
        tokens, real = _filled([sentences[i] for i in rows])
        draws = rng.random(tokens.shape) + ~real
        share = rng.uniform(0.1, 0.5, (len(rows), 1))
        hidden = (draws < share) | (draws == draws.min(1, keepdims=True))
        told, right, there, asked = (
            torch.from_numpy(a).to(run.device) for a in (np.where(hidden, MASK, tokens), tokens, real, hidden)
        )
        scores = model.logits(model(told, real=there))
        losses = F.cross_entropy(scores.transpose(1, 2), right, reduction="none")
        return (losses * asked).sum(1) / asked.sum(1), None

    train_examples(model, losses_of, order[: steps * batch], Options(rate=config.rate, batch=batch))
    return model.eval()


@torch.no_grad()
def contextual(model: Decoder, words: Ints, device: str = "cpu") -> tuple[Floats, float]:
    """CPMI of every two words of a sentence, (n, n), and the share of words guessed when they alone are hidden."""
    n = len(words)
    i, j = np.triu_indices(n)  # which words are hidden; one where i is j
    pair = np.arange(i.size)
    told = np.repeat(words[None], i.size, 0)
    told[pair, i] = told[pair, j] = MASK
    hidden = model(torch.from_numpy(told).to(device))
    log_p = np.zeros((n, n))  # of the first word, with it and the second hidden
    alone = i == j
    guesses = np.zeros(n, np.int64)
    for first, second in ((i, j), (j, i)):
        at = hidden[torch.from_numpy(pair).to(device), torch.from_numpy(first).to(device)]
        scores = torch.log_softmax(model.logits(at).float(), -1).cpu().numpy().astype(np.float64)
        log_p[first, second] = scores[pair, words[first]]
        guesses[first[alone]] = scores[alone].argmax(-1)
    return symmetric(np.diag(log_p)[:, None] - log_p), float((guesses == words).mean())


def pmi(sentences: Sequence[Ints], size: int) -> Floats:
    """PMI of words that share a sentence, (size, size); one pair is added to every count."""
    counts = np.ones((size, size))
    for words in sentences:
        np.add.at(counts, (words[:, None], words[None, :]), 1.0 - np.eye(len(words)))
    p = counts / counts.sum()
    return np.asarray(np.log(p / (p.sum(0)[:, None] * p.sum(0)[None, :])))


def tree(weights: Floats) -> Links:
    """The links of the spanning tree with the largest sum of weights."""
    cost = weights.max() - weights + 1.0  # positive: the solver takes 0 for no link
    np.fill_diagonal(cost, 0)
    rows, columns = minimum_spanning_tree(cost).nonzero()
    return frozenset((int(min(i, j)), int(max(i, j))) for i, j in zip(rows, columns, strict=True))


def parents(links: Links, count: int) -> Ints:
    """Each word's neighbour on the way to the first word, whose own is -1.

    >>> parents(frozenset({(0, 2), (1, 2), (1, 3)}), 4).tolist()
    [-1, 2, 0, 1]
    """
    out = np.full(count, -1, np.int64)
    reached, known = [0], {0}
    for word in reached:
        for a, b in links:
            other = b if a == word else a if b == word else word
            if other not in known:
                out[other] = word
                reached.append(other)
                known.add(other)
    return out


def uuas(guess: Links, links: Links) -> float:
    """The share of the true links that were guessed, whatever their direction."""
    return len(guess & links) / len(links)


def symmetric(values: Floats) -> Floats:
    """The mean of a matrix and its transpose."""
    return np.asarray((values + values.T) / 2)


def _filled(sentences: Sequence[Ints]) -> tuple[Ints, npt.NDArray[np.bool_]]:
    longest = max(map(len, sentences))
    tokens = np.full((len(sentences), longest), FILL, np.int64)
    for row, words in zip(tokens, sentences, strict=True):
        row[: len(words)] = words
    return tokens, tokens != FILL
