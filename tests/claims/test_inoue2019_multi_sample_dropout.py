"""The claim about multi-sample dropout at a toy size: what the samples share, what is averaged, how runs are judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims import _lab as lab
from tilth.claims import inoue2019_multi_sample_dropout as claim
from tilth.models.transformer import Decoder

TOY = claim.Scale(train=40, valid=20, test=20, vocab=300, depth=1, hidden=16, steps=8, batch=4, points=4)
WORDS = ["card", "loan", "cash", "coin"]
ROWS = [(f"about my {WORDS[i % 4]} {i}", WORDS[i % 4]) for i in range(100)]


def parts() -> tuple[nn.Module, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(3)
    head = nn.Linear(8, 3)
    return head, torch.randn(5, 8, generator=rng), torch.randint(3, (5,), generator=rng)


def test_losses_of_masked_features_are_averaged() -> None:
    head, pooled, labels = parts()
    found = claim.sampled_losses(head, pooled, labels, 0.5, 4, torch.Generator().manual_seed(1))
    kept = torch.rand(4, 5, 8, generator=torch.Generator().manual_seed(1)) >= 0.5
    wanted = torch.stack([F.cross_entropy(head(pooled * k * 2), labels, reduction="none") for k in kept])
    assert torch.allclose(found, wanted.mean(0))
    assert not torch.allclose(wanted[0], wanted[1]), "every sample has a mask of its own"
    scores = torch.stack([head(pooled * k * 2) for k in kept]).mean(0)
    assert bool((found > F.cross_entropy(scores, labels, reduction="none")).all()), "losses, not scores, are averaged"


def test_one_sample_is_plain_dropout_and_no_dropout_changes_nothing() -> None:
    head, pooled, labels = parts()
    one = claim.sampled_losses(head, pooled, labels, 0.5, 1, torch.Generator().manual_seed(1))
    kept = torch.rand(5, 8, generator=torch.Generator().manual_seed(1)) >= 0.5
    assert torch.equal(one, F.cross_entropy(head(pooled * kept / 0.5), labels, reduction="none"))
    none = claim.sampled_losses(head, pooled, labels, 0.0, 4, torch.Generator())
    assert torch.allclose(none, F.cross_entropy(head(pooled), labels, reduction="none"))


def test_the_encoder_runs_once_and_drops_only_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = lab.decoder(1, 20, 8, Run(), causal=False)
    model = claim.DroppedClassifier(encoder, nn.Linear(32, 3), 0.5, 8, torch.Generator().manual_seed(0))
    seen: list[int] = []
    pooled = Decoder.pooled

    def watched(self: Decoder, tokens: Tensor, real: Tensor) -> Tensor:
        seen.append(len(tokens))
        return pooled(self, tokens, real)

    monkeypatch.setattr(Decoder, "pooled", watched)
    tokens, real, labels = torch.arange(12).view(3, 4), torch.ones(3, 4, dtype=torch.bool), torch.tensor([0, 1, 2])
    model.train()
    assert not torch.equal(model.losses(tokens, real, labels), model.losses(tokens, real, labels))
    model.eval()
    assert torch.equal(model.losses(tokens, real, labels), model.losses(tokens, real, labels))
    assert seen == [3] * 4


def test_more_samples_make_the_gradient_less_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "DRAWS", 300)
    assert claim.noise(Run(), 4) == pytest.approx(1 / 4, rel=0.2)


def test_arms_share_records_and_first_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, list[list[int]]]] = []
    losses = claim.DroppedClassifier.losses

    def watched(self: claim.DroppedClassifier, tokens: Tensor, real: Tensor, labels: Tensor) -> Tensor:
        if not seen or len(seen[-1][1]) == TOY.steps:
            seen.append((float(sum(p.detach().abs().sum() for p in self.parameters())), []))
        seen[-1][1].append(labels.tolist())
        return losses(self, tokens, real, labels)

    monkeypatch.setattr(claim.DroppedClassifier, "losses", watched)
    one, many = (claim.trained(ROWS, Run(), TOY, samples) for samples in (1, 8))
    assert seen[0] == seen[1]
    assert one.losses.shape == many.losses.shape == (4,)
    assert not np.array_equal(one.losses, many.losses)
    assert 0 <= one.error <= 1
    assert one.seconds > 0


def test_the_classifier_learns() -> None:
    scale = claim.Scale(**{**vars(TOY), "steps": 120, "rate": 1e-2})
    found = claim.trained(ROWS, Run(), scale, 4)
    assert found.losses[-1] < 0.1 < found.losses[0] < np.log(4)
    assert found.error < 0.1


def test_statements_hold_where_they_should() -> None:
    slow = claim.Found(np.array([4.0, 3.0, 2.5, 2.0]), 0.3, 1.0)
    fast = claim.Found(np.array([3.0, 1.9, 1.8, 1.7]), 0.25, 1.05)

    def holds(plain: claim.Found, many: claim.Found, variance: float) -> list[str]:
        found = {1: [plain] * 3, claim.SAMPLES: [many] * 3}
        rows = claim.statements(found, [variance] * 3, TOY)
        assert all(r["holds"] == "-" for r in rows[5:])
        return [r["holds"] for r in rows[:5]]

    assert holds(slow, fast, 0.125) == ["yes"] * 5
    assert holds(fast, claim.Found(slow.losses, 0.3, 1.3), 1.0) == ["no"] * 5
    assert claim.faster(fast.losses, slow.losses) == 1.0


def test_without_questions_the_claim_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="labelled questions"):
        claim.run(tmp_path)
