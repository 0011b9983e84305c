"""Gradients of single examples against autograd, and the projection against its bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tilth.core import Run
from tilth.models.gradients import (
    ROWS,
    LastLayer,
    Loss,
    Projection,
    distortion,
    gradients,
    gradients_loop,
    names,
    projected,
)

VOCAB, WIDTH, CLASSES = 11, 6, 4


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, WIDTH), nn.Tanh(), nn.Dropout(0.5))
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


class Language(nn.Module):
    """A recurrent-free language model: embeddings, one causal attention, a head without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.mix = nn.Linear(WIDTH, 3 * WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCAB, bias=False)

    def hidden(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        q, k, v = self.mix(x).chunk(3, -1)
        return self.norm(x + F.scaled_dot_product_attention(q, k, v, is_causal=True))  # type: ignore[no-any-return]

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.hidden(ids))  # type: ignore[no-any-return]


def classify(call: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(call(x), y)


def next_token(call: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(call(ids).flatten(0, 1), labels.flatten())


def case(kind: str) -> tuple[nn.Module, Loss, list[Tensor]]:
    torch.manual_seed(1)
    if kind == "classifier":
        return Classifier(), classify, [torch.randn(7, 5), torch.randint(0, CLASSES, (7,))]
    ids = torch.randint(0, VOCAB, (7, 9))
    labels = torch.where(torch.rand(7, 8) < 0.3, -100, ids[:, 1:])
    labels[:, -1] = ids[:, -1]  # at least one position counts
    return Language(), next_token, [ids[:, :-1], labels]


@pytest.mark.parametrize("kind", ["classifier", "language"])
@pytest.mark.parametrize("chunk", [None, 3])
def test_vmap_and_loop_agree(kind: str, chunk: int | None) -> None:
    module, loss, example = case(kind)
    slow = gradients_loop(module, loss, example)
    fast = gradients(module, loss, example, chunk=chunk)
    assert slow.shape == (7, sum(p.numel() for p in module.parameters()))
    assert torch.allclose(slow, fast, atol=1e-6)
    assert module.training, "the module's mode is put back"
    assert all(p.grad is None for p in module.parameters()), "nothing is left in .grad"


def test_their_mean_is_the_gradient_of_the_batch() -> None:
    module, loss, example = case("classifier")
    module.eval()
    parts = torch.autograd.grad(loss(module, *example), list(module.parameters()))
    batch = torch.cat([part.flatten() for part in parts])
    assert torch.allclose(gradients(module, loss, example).mean(0), batch, atol=1e-6)


def test_only_some_parameters_and_none() -> None:
    module, loss, example = case("classifier")

    def head(name: str) -> bool:
        return name.startswith("head")

    assert names(module, head) == ["head.weight", "head.bias"]
    whole = gradients(module, loss, example)
    for way in (gradients, gradients_loop):
        assert torch.allclose(way(module, loss, example, head), whole[:, -(WIDTH + 1) * CLASSES :], atol=1e-6)
    module.requires_grad_(False)
    module.get_submodule("head").requires_grad_(True)
    assert torch.allclose(gradients_loop(module, loss, example), whole[:, -(WIDTH + 1) * CLASSES :], atol=1e-6)
    with pytest.raises(ValueError, match="no trainable parameter"):
        gradients(module, loss, example, lambda name: False)


def last_layer(kind: str) -> tuple[LastLayer, Tensor]:
    """The closed form, and autograd's gradients of the head."""
    module, loss, example = case(kind)
    module.eval()
    if isinstance(module, Language):
        closed = LastLayer.of(module.hidden(example[0]), module(example[0]), example[1])
    else:
        hidden = module.get_submodule("body")(example[0])
        closed = LastLayer.of(hidden, module(example[0]), example[1])
    return closed, gradients_loop(module, loss, example, lambda name: name.startswith("head"))


@pytest.mark.parametrize("kind", ["classifier", "language"])
def test_last_layer_in_closed_form_is_autograds(kind: str) -> None:
    closed, truth = last_layer(kind)
    bias = kind == "classifier"
    assert (closed.dense(bias) - truth).abs().max() < 1e-5
    assert (closed.inner(closed, bias) - truth @ truth.T).abs().max() < 1e-5
    assert (closed.norms(bias) - truth.norm(dim=1)).abs().max() < 1e-5
    assert truth.norm(dim=1).min() > 0.01, "the comparison is not of zeros"


def test_last_layer_of_an_example_without_a_label_is_zero() -> None:
    logits, hidden = torch.randn(2, 3, VOCAB), torch.randn(2, 3, WIDTH)
    labels = torch.tensor([[-100, -100, -100], [1, -100, 2]])
    norms = LastLayer.of(hidden, logits, labels).norms()
    assert norms[0] == 0
    assert norms[1] > 0


# ---- projection


def pairs(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Unit vectors with every angle between them, and with weight on few coordinates as gradients have."""
    rng = np.random.default_rng(3)
    x, noise = (rng.standard_t(3, (count, size)) for _ in range(2))
    y = x * np.linspace(-1, 1, count)[:, None] + noise * 0.7
    return tuple(torch.from_numpy(v / np.linalg.norm(v, axis=1, keepdims=True)).float() for v in (x, y))  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["signs", "sparse"])
def test_inner_products_are_kept_within_the_bound(kind: str) -> None:
    """60 pairs, 10 projections: no more failures than the stated probability allows, and errors as large as theory."""
    width, failure = 512, 0.05
    x, y = pairs(60, 3 * ROWS + 100)
    true = (x * y).sum(1)
    assert true.min() < -0.7
    assert true.max() > 0.7
    bound = distortion(width, failure)  # unit vectors: (|x|^2 + |y|^2) / 2 = 1
    errors = []
    for seed in range(10):
        made = Projection(Run(seed=seed), width, kind)  # type: ignore[arg-type]
        errors.append((made(x) * made(y)).sum(1) - true)
    found = torch.stack(errors)
    assert (found.abs() > bound).float().mean() <= failure
    expected = ((1 + true.square()) / width).sqrt()  # a dense projection's standard deviation, normal entries
    spread = (found.square().mean() / expected.square().mean()).sqrt()
    assert 0.8 < spread < 1.2, "neither too noisy (a block used twice) nor too exact to be a projection"
    assert found.mean().abs() < 4 * expected.mean() / np.sqrt(found.numel() / 10), "unbiased"


def test_a_block_used_twice_would_be_noticed() -> None:
    """The standard deviation above is a real check: vectors that repeat every block show a map that repeats."""
    once = pairs(40, ROWS)[0]
    x = torch.cat([once, -once], 1) / 2**0.5
    honest = Projection(Run(), 256)

    class Repeating(Projection):
        def _signs(self, block: int) -> Tensor:
            return super()._signs(0)

    assert (honest(x).norm(dim=1) - 1).abs().max() < 0.25
    assert Repeating(Run(), 256)(x).norm(dim=1).max() < 1e-3


def test_bound_shrinks_with_width_and_says_when_there_is_none() -> None:
    assert distortion(4096, 0.01) < distortion(1024, 0.01) < distortion(1024, 0.0001)
    e = distortion(1024, 0.01)
    assert 4 * np.exp(-1024 * (e**2 / 4 - e**3 / 6)) == pytest.approx(0.01)
    with pytest.raises(ValueError, match="use more"):
        distortion(16, 0.01)
    with pytest.raises(ValueError, match="multiple of nonzeros"):
        Projection(Run(), 100, "sparse")


@pytest.mark.parametrize("kind", ["signs", "sparse"])
def test_pieces_and_whole_project_alike(kind: str) -> None:
    x = pairs(5, 3 * ROWS + 7)[0]
    made = Projection(Run(seed=4), 64, kind)  # type: ignore[arg-type]
    cut = [x[:, :10], x[:, 10 : ROWS + 30].reshape(5, 4, -1), x[:, ROWS + 30 :]]
    assert torch.allclose(made(x), made(cut), atol=1e-6)
    assert torch.equal(made(x), Projection(Run(seed=4), 64, kind)(x))  # type: ignore[arg-type]
    assert not torch.allclose(made(x), Projection(Run(seed=5), 64, kind)(x), atol=0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["classifier", "language"])
def test_projected_gradients_are_the_gradients_projected(kind: str) -> None:
    module, loss, example = case(kind)
    whole, made = gradients_loop(module, loss, example), Projection(Run(), 2048)
    short = projected(module, loss, example, made, chunk=3)
    assert torch.allclose(short, made(whole), atol=1e-5)
    bound = distortion(2048, 1e-4)
    squares = whole.square().sum(1)
    error = (short @ short.T - whole @ whole.T).abs()
    assert (error <= bound * (squares[:, None] + squares[None]) / 2).all()
