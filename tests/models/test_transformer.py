"""Is it the model it says it is? Every property that can be computed another way is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tilth.models.transformer import Classifier, Config, Decoder, build, generate, token_losses


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(config: Config, seed: int = 0) -> Decoder:
    """A model whose every matrix matters: fresh ones pass their input through."""
    model = build(config, rng(seed))
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0.0, 0.3, generator=rng(seed + 1))
    return model


def tokens(shape: tuple[int, ...], vocab: int = 300, seed: int = 5) -> torch.Tensor:
    return torch.randint(1, vocab, shape, generator=rng(seed))


@pytest.mark.parametrize(("depth", "millions"), [(3, 0.332), (4, 0.788), (5, 1.536), (7, 4.215)])
@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
def test_the_dial_reaches_the_sizes_it_names(depth: int, millions: float, activation: str) -> None:
    model = build(Config.of_depth(depth, 2048, activation=activation), rng())
    assert model.parameters_of_layers / 1e6 == pytest.approx(millions, rel=0.01)
    assert sum(p.numel() for p in model.parameters()) == model.parameters_of_layers + 2048 * 32 * depth
    assert Config.of_depth(depth, 2048).rate > Config.of_depth(depth + 1, 2048).rate


def test_token_losses_are_cross_entropy_and_so_are_their_gradients() -> None:
    hidden = torch.randn(700, 12, generator=rng(), dtype=torch.float64, requires_grad=True)
    weight = torch.randn(40, 12, generator=rng(1), dtype=torch.float64, requires_grad=True)
    targets = torch.randint(-1, 40, (700,), generator=rng(2))
    scale = torch.rand(700, generator=rng(3), dtype=torch.float64)
    ours = token_losses(hidden, weight, targets)
    plain = F.cross_entropy(hidden @ weight.T, targets, ignore_index=-1, reduction="none")
    assert (targets < 0).any()
    torch.testing.assert_close(ours, plain)
    mine = torch.autograd.grad((ours * scale).sum(), (hidden, weight))
    theirs = torch.autograd.grad((plain * scale).sum(), (hidden, weight))
    torch.testing.assert_close(mine, theirs)
    large = token_losses(torch.full((1, 1), 1e4), torch.tensor([[1.0], [-1.0]]), torch.tensor([1]))
    assert large.item() == pytest.approx(2e4), "overflows"


def test_an_untrained_model_knows_nothing() -> None:
    config = Config.of_depth(2, 300, context=16)
    model = build(config, rng())
    x = tokens((4, 17))
    fresh = model.losses(x[:, :-1], x[:, 1:])
    assert fresh.mean().item() == pytest.approx(math.log(300), rel=0.02)
    with torch.no_grad():
        model.embedding.weight.zero_()
    torch.testing.assert_close(model.losses(x[:, :-1], x[:, 1:]), torch.full((4, 16), math.log(300)))


def test_weights_are_a_function_of_the_generator() -> None:
    config = Config.of_depth(2, 300)
    a, b, c = (build(config, rng(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["embedding.weight"], c["embedding.weight"])


@pytest.mark.parametrize("activation", ["swiglu", "gelu"])
def test_a_decoder_does_not_see_what_comes_later_and_an_encoder_does(activation: str) -> None:
    x = tokens((2, 20))
    y = x.clone()
    y[:, 12:] = 7
    decoder = lively(Config.of_depth(2, 300, activation=activation))
    torch.testing.assert_close(decoder(x)[:, :12], decoder(y)[:, :12])
    assert (decoder(x)[:, 12:] - decoder(y)[:, 12:]).abs().max() > 0.01
    encoder = lively(Config.of_depth(2, 300, activation=activation, causal=False))
    assert (encoder(x)[:, :12] - encoder(y)[:, :12]).abs().amin((1, 2)).max() < 0.1
    assert (encoder(x)[:, :12] - encoder(y)[:, :12]).abs().max() > 0.01


def test_documents_in_one_window_do_not_see_one_another() -> None:
    """A window of three documents against each document alone: where a document lies must not matter either."""
    model = lively(Config.of_depth(2, 300))
    parts = [tokens((1, n), seed=n) for n in (7, 1, 12)]
    documents = torch.cat([torch.full((1, p.shape[1]), i) for i, p in enumerate(parts)], 1)
    together = model(torch.cat(parts, 1), documents)
    alone = torch.cat([model(p) for p in parts], 1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    assert (model(torch.cat(parts, 1)) - alone).abs().max() > 0.05, "without the mask they do"


def test_order_matters() -> None:
    model = lively(Config.of_depth(2, 300))
    x = tokens((1, 6))
    assert (model(x)[0, -1] - model(x[:, [1, 0, 2, 3, 4, 5]])[0, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("causal", [True, False])
def test_filling_up_does_not_change_an_embedding(causal: bool) -> None:
    encoder = lively(Config.of_depth(2, 300, causal=causal))
    x = tokens((1, 5))
    padded = torch.cat([x, torch.zeros(1, 4, dtype=torch.long)], 1)
    real = torch.arange(9).unsqueeze(0) < 5
    torch.testing.assert_close(
        encoder.pooled(padded, real), encoder.pooled(x, torch.ones(1, 5, dtype=torch.bool)), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(encoder.pooled(x, torch.ones(1, 5, dtype=torch.bool)), encoder(x).mean(1))
    empty = encoder.pooled(padded, torch.zeros(1, 9, dtype=torch.bool))
    assert (empty == 0).all()
    scores = Classifier(encoder, 4)(padded, real)
    assert (scores == 0).all(), "an untrained classifier prefers no class"


def test_generation_is_the_argmax_of_the_whole_prefix_every_time() -> None:
    model = lively(Config.of_depth(2, 50), seed=3)
    prompts = [tokens((n,), 50, seed=n).numpy() for n in (5, 1, 9, 5)]

    def slow(prompt: np.ndarray, longest: int, end: int) -> list[int]:
        row = [int(t) for t in prompt]
        for _ in range(longest):
            nxt = int(model.logits(model(torch.tensor([row]))[0, -1]).argmax())
            if nxt == end:
                break
            row.append(nxt)
        return row[len(prompt) :]

    free = [slow(p, 8, -1) for p in prompts]
    never = next(t for t in range(50) if all(t not in row for row in free))
    lengths = set()
    for end in (never, *{t for row in free for t in row}):
        expected = [slow(p, 8, end) for p in prompts]
        lengths |= {len(row) for row in expected}
        for batch in (1, 3, 64):
            assert [row.tolist() for row in generate(model, prompts, 8, end, batch)] == expected
    assert len(lengths) > 3, "the end token is met at several places"
    assert generate(model, [], 8, 0) == []
    assert generate(model, prompts[:1], 0, 0)[0].size == 0


@pytest.mark.parametrize("apart", [True, False])
def test_under_autocast_losses_and_gradients_are_nearly_the_exact_ones(apart: bool) -> None:
    config = Config(vocab=50, context=24, layers=2, width=64, heads=2, hidden=96)
    made = build(config, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith("outward.weight"):
                p.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))  # else a block does nothing
    tokens = torch.randint(50, (3, 24), generator=torch.Generator().manual_seed(2))
    documents = torch.arange(24).div(7, rounding_mode="floor").expand(3, 24) if apart else None
    targets = tokens.roll(-1, 1).masked_fill(torch.arange(24) == 23, -1)
    found = []
    for rough in (False, True):
        made.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=rough):
            losses = made.losses(tokens, targets, documents)
        losses.mean().backward()  # type: ignore[no-untyped-call]
        grads = [p.grad for p in made.parameters() if p.grad is not None]
        assert {g.dtype for g in grads} == {torch.float32}
        found.append((losses.detach(), torch.cat([g.flatten() for g in grads])))
    (a, g), (b, h) = found
    assert b.dtype == torch.float32
    assert float((a - b).abs().max()) < 0.05
    assert 0 < float((g - h).norm() / g.norm()) < 0.03
