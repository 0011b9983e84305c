"""Losses of tuning, each the formula of its paper and nothing else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "distillation_losses",
    "dpo_losses",
    "info_nce_losses",
    "likelihood_rises",
    "swapped",
    "threshold_margins",
]


def dpo_losses(
    chosen: Tensor, rejected: Tensor, reference_chosen: Tensor, reference_rejected: Tensor, beta: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Direct preference optimisation: minus the log-sigmoid of the implicit reward's margin, and that margin.

    The implicit reward of an answer is beta times how much likelier, in nats, the model makes it than the reference
    does. Source: Rafailov et al. 2023, arXiv 2305.18290, equation 7.

    Args:
        chosen, rejected: (B,) log-probabilities of whole answers, summed over their tokens.

    >>> losses, margins = dpo_losses(*(torch.tensor([x]) for x in (-3.0, -5.0, -4.0, -4.0)), beta=0.5)
    >>> round(margins.item(), 4), round(losses.item(), 4)
    (1.0, 0.3133)
    """
    margins = beta * ((chosen - reference_chosen) - (rejected - reference_rejected))
    return -F.logsigmoid(margins), margins


def distillation_losses(logits: Tensor, ids: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """T squared times KL(teacher || student), both at temperature T, (n,).

    The teacher is known by its k largest logits; it is taken to give all its probability to these. Source: Hinton et
    al. 2015, arXiv 1503.02531; the factor keeps gradients alike at any temperature.

    Args:
        logits: (n, V) of the student.
        ids, teacher: (n, k) the teacher's likeliest ids and their logits; k = V is the exact divergence.
    """
    wanted = F.log_softmax(teacher / temperature, -1)
    found = F.log_softmax(logits / temperature, -1).gather(-1, ids)
    return (wanted.exp() * (wanted - found)).sum(-1) * temperature**2


def info_nce_losses(
    queries: Tensor, passages: Tensor, positive: Tensor, temperature: float = 0.05, excluded: Tensor | None = None
) -> Tensor:
    """Minus the log-probability that each query picks its own passage among all of them, (B,).

    Source: van den Oord et al. 2018, arXiv 1807.03748; with in-batch negatives as in Karpukhin et al. 2020, 2004.04906.

    Args:
        queries, passages: (B, D) and (P, D); similarity is their inner product over `temperature`.
        positive: (B,) the place of each query's own passage.
        excluded: (B, P) passages a query must not be told apart from, such as copies of its own.
    """
    scores = queries @ passages.T / temperature
    if excluded is not None:
        own = F.one_hot(positive, passages.shape[0]).to(torch.bool)
        scores = scores.masked_fill(excluded & ~own, float("-inf"))
    return F.cross_entropy(scores, positive, reduction="none")


def swapped(logits: Tensor, gold: Tensor) -> Tensor:
    """A teacher's logits with those of its likeliest id and of the right one exchanged, (n, V).

    The right id gets the teacher's confidence in its own choice, the rest of what it expects stays as it was, and so
    does the entropy. Where the two agree nothing changes. Exchanging probabilities after the softmax is the same.
    Source: Jiang et al. 2024, Mix-CPT, arXiv 2407.10804.

    Args:
        logits: (n, V) of the teacher.
        gold: (n,) the right ids.

    >>> swapped(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([1])).tolist()
    [[1.0, 3.0, 2.0]]
    """
    gold = gold.unsqueeze(-1)
    best = logits.argmax(-1, keepdim=True)
    top, right = logits.gather(-1, best), logits.gather(-1, gold)
    return logits.scatter(-1, best, right).scatter(-1, gold, top)


def threshold_margins(states: Tensor, labels: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """How far states are from the side of their thresholds on which they were, each coordinate's, (n, D), at least 0.

    Sums of these over the number of them that are not 0 are the loss, whose scale then stays as violations vanish.
    Source: Zhang et al. 2025, GeRe, arXiv 2508.04676.

    Args:
        states: (n, D) as they are now.
        labels: (n, D) what each coordinate was: 1 at least `high`, -1 at most `low`, 0 between them.
        low, high: (D,) thresholds.

    >>> low, high = torch.tensor([-1.0]), torch.tensor([1.0])
    >>> threshold_margins(torch.tensor([[0.5], [0.5], [1.5]]), torch.tensor([[1], [-1], [0]]), low, high).tolist()
    [[0.5], [1.5], [0.5]]
    """
    below, above = (high - states).clamp(min=0), (states - low).clamp(min=0)
    outside = (states - high).clamp(min=0) + (low - states).clamp(min=0)
    return torch.where(labels > 0, below, torch.where(labels < 0, above, outside))


def likelihood_rises(now: Tensor, before: Tensor) -> Tensor:
    """How far log-likelihoods have risen, (n,), at least 0: what has become less likely pulls nowhere.

    Source: Zhang et al. 2024, corpus-invariant tuning, arXiv 2404.01652; the hinge is ours.

    Args:
        now: (n,) of the model in training.
        before: (n,) of the model as it was; a constant.

    >>> likelihood_rises(torch.tensor([-1.0, -3.0]), torch.tensor([-1.5, -2.0])).tolist()
    [0.5, 0.0]
    """
    return (now - before.detach()).clamp(min=0)
