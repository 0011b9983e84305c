"""Gradients from one backward pass are those of a backward pass each; an embedding's groups keep inner products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tilth.core import Run
from tilth.models import layerwise
from tilth.models.gradients import Projection, gradients_loop
from tilth.models.transformer import Classifier, Config, build

VOCAB = 40


def world() -> tuple[Classifier, list[Tensor]]:
    model = Classifier(build(Config.of_depth(2, VOCAB, 12, causal=False), torch.Generator().manual_seed(0)), 3).eval()
    with torch.no_grad():  # outward matrices start at zero, where gradients of the others are zero too
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    rng = Run().rng("ids")
    real = torch.arange(12) < torch.from_numpy(rng.integers(3, 13, (9, 1)))
    return model, [torch.from_numpy(rng.integers(0, VOCAB, (9, 12))), real, torch.from_numpy(rng.integers(0, 3, 9))]


def loss(call: nn.Module, ids: Tensor, real: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(call(ids, real), y)


def losses(model: nn.Module, ids: Tensor, real: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(model(ids, real), y, reduction="none")


def test_are_those_of_the_loop() -> None:
    model, example = world()
    slow = gradients_loop(model, loss, example)
    fast = torch.cat([g.flatten(1) for g in layerwise.gradients(model, lambda: losses(model, *example), Run())], 1)
    assert slow.shape == fast.shape
    assert slow.norm(dim=1).min() > 0.01
    assert torch.allclose(slow @ slow.T, fast @ fast.T, rtol=1e-3, atol=1e-5)  # the order of layers is its own
    assert torch.allclose(slow.sort(1).values, fast.sort(1).values, atol=1e-5)
    assert all(p.grad is None for p in model.parameters())


def test_groups_and_projection_keep_inner_products() -> None:
    model, example = world()
    truth = gradients_loop(model, loss, example)
    scale = truth.norm(dim=1)[:, None] * truth.norm(dim=1)

    def off(run: Run) -> Tensor:
        whole = layerwise.gradients(model, lambda: losses(model, *example), run, groups=8)
        short = Projection(run, 512, "sparse", 1)(whole)
        out: Tensor = (short @ short.T - truth @ truth.T) / scale
        return out

    errors = torch.stack([off(Run(seed=seed)) for seed in range(40)])
    assert errors.mean(0).abs().max() < 0.06  # unbiased
    assert errors[0].abs().median() < 0.1


def test_a_weight_elsewhere_and_a_layer_used_twice_are_refused() -> None:
    class Odd(nn.Module):
        def __init__(self, extra: bool) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.gain = nn.Parameter(torch.ones(2)) if extra else None

        def forward(self, x: Tensor) -> Tensor:
            y = self.layer(x)
            out: Tensor = (self.layer(y) if self.gain is None else y * self.gain).sum(1)
            return out

    x = torch.ones(3, 2)
    for extra, said in ((True, "gain is not a weight"), (False, "used twice")):
        odd = Odd(extra)
        with pytest.raises(ValueError, match=said):
            layerwise.gradients(odd, lambda odd=odd: odd(x), Run())  # type: ignore[misc]
