"""The formulas against numbers worked out by hand or by another road."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from tilth.models.losses import distillation_losses, dpo_losses, info_nce_losses


def test_dpo_of_a_batch_worked_out_by_hand() -> None:
    """Margins: .1 x ((-10 + 12) - (-20 + 15)) = .7 and .1 x ((-8 + 6) - (-7 + 7)) = -.2."""
    chosen = torch.tensor([-10.0, -8.0], requires_grad=True)
    rejected = torch.tensor([-20.0, -7.0], requires_grad=True)
    losses, margins = dpo_losses(chosen, rejected, torch.tensor([-12.0, -6.0]), torch.tensor([-15.0, -7.0]), 0.1)
    torch.testing.assert_close(margins, torch.tensor([0.7, -0.2]))
    expected = [math.log(1 + math.exp(-0.7)), math.log(1 + math.exp(0.2))]
    assert losses.tolist() == pytest.approx(expected, rel=1e-5)
    up, down = torch.autograd.grad(losses.sum(), (chosen, rejected))
    weight = [-0.1 / (1 + math.exp(0.7)), -0.1 / (1 + math.exp(-0.2))]  # beta sigmoid(-margin): larger when it is wrong
    assert up.tolist() == pytest.approx(weight, rel=1e-5)
    assert down.tolist() == pytest.approx([-w for w in weight], rel=1e-5)
    same, zero = dpo_losses(chosen, rejected, chosen, rejected)
    assert zero.tolist() == [0, 0]
    assert same.tolist() == pytest.approx([math.log(2)] * 2)


def logits(seed: int, n: int = 6, vocab: int = 9) -> torch.Tensor:
    return torch.randn(n, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def everything(teacher: torch.Tensor) -> torch.Tensor:
    return torch.arange(teacher.shape[1]).expand_as(teacher)


def test_distillation_is_the_divergence_and_at_temperature_1_its_gradient_is_that_of_soft_cross_entropy() -> None:
    student, teacher = logits(0).requires_grad_(), logits(1)
    losses = distillation_losses(student, everything(teacher), teacher)
    p, q = teacher.softmax(-1), student.softmax(-1)
    torch.testing.assert_close(losses, (p * (p / q).log()).sum(-1))
    soft = F.cross_entropy(student, p, reduction="sum")
    torch.testing.assert_close(
        torch.autograd.grad(losses.sum(), student), torch.autograd.grad(soft, student)
    )  # fmt: skip
    assert (distillation_losses(teacher, everything(teacher), teacher, 3.0).abs() < 1e-12).all()
    other = (q * (q / p).log()).sum(-1)
    assert (losses - other).abs().max() > 0.01, "the divergence is not symmetric; this one is mean-seeking"


def test_at_high_temperature_logits_are_matched() -> None:
    """Hinton et al.: the gradient goes to (student - teacher) / V of centred logits, whatever the temperature."""
    student, teacher = logits(0).requires_grad_(), logits(1)
    (found,) = torch.autograd.grad(
        distillation_losses(student, everything(teacher), teacher, 1e4).sum(), student
    )  # fmt: skip
    centred = student - student.mean(-1, keepdim=True) - (teacher - teacher.mean(-1, keepdim=True))
    torch.testing.assert_close(found, centred.detach() / 9, atol=1e-4, rtol=1e-3)


def test_few_logits_are_the_whole_where_the_rest_is_unlikely() -> None:
    student, teacher = logits(0), logits(1)
    teacher[:, 3:] -= 50
    top = teacher.topk(3, -1)
    torch.testing.assert_close(
        distillation_losses(student, top.indices, top.values),
        distillation_losses(student, everything(teacher), teacher),
    )


def test_info_nce_of_vectors_made_by_hand() -> None:
    """Two queries on the axes, three passages: scores (1, 0, .6) and (0, 1, .8), over a temperature of .5."""
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    passages = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    found = info_nce_losses(queries, passages, torch.tensor([0, 1]), temperature=0.5)
    one = -math.log(math.exp(2) / (math.exp(2) + 1 + math.exp(1.2)))
    two = -math.log(math.exp(2) / (1 + math.exp(2) + math.exp(1.6)))
    assert found.tolist() == pytest.approx([one, two], rel=1e-5)
    spared = torch.tensor([[True, False, True], [False, False, False]])
    found = info_nce_losses(queries, passages, torch.tensor([0, 1]), 0.5, spared)
    assert found.tolist() == pytest.approx([-math.log(math.exp(2) / (math.exp(2) + 1)), two], rel=1e-5)
