"""Low-rank updates: they change nothing at first, have the rank they say, and are the same when merged."""

from __future__ import annotations

import copy
from typing import Literal

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from tilth.models.batches import windows
from tilth.models.feeds import Fixed
from tilth.models.low_rank import adapted, merged
from tilth.models.optim import Options
from tilth.models.train import train_lm
from tilth.models.transformer import Config, Decoder, build

CONFIG = Config(vocab=40, context=16, layers=2, width=32, heads=1, hidden=64)


def model() -> Decoder:
    made = build(CONFIG, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for name, p in made.named_parameters():
            if name.endswith("outward.weight"):
                p.normal_(0, 0.1, generator=torch.Generator().manual_seed(1))
    return made


def trained(decoder: Decoder, precision: Literal["float32", "bfloat16"] = "float32") -> None:
    ids = np.random.default_rng(0).integers(1, 40, 640).astype(np.uint32)
    data = windows(np.arange(41) * 16, ids, np.arange(40), 16, 0)
    train_lm(decoder, Fixed(data, 4), Options(rate=0.01, batch=4, weight_decay=0.0, precision=precision))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_only_updates_of_the_rank_are_learned(precision: Literal["float32", "bfloat16"]) -> None:
    before, tokens = model(), torch.arange(12)[None]
    decoder = copy.deepcopy(before)
    adapted(decoder, 3, torch.Generator().manual_seed(2), scale=0.5)
    assert torch.equal(decoder(tokens), before(tokens)), "at first the product is 0"
    learned = [p for p in decoder.parameters() if p.requires_grad]
    shapes = [m.weight.shape for m in before.modules() if isinstance(m, nn.Linear)]
    assert sum(p.numel() for p in learned) == sum(3 * (a + b) for a, b in shapes)
    trained(decoder, precision)
    said = decoder(tokens)
    assert not torch.allclose(said, before(tokens), atol=1e-3)
    after = merged(copy.deepcopy(decoder))
    assert torch.allclose(after(tokens), said, atol=1e-6)
    was, now = before.state_dict(), after.state_dict()
    assert was.keys() == now.keys()
    assert torch.equal(was["embedding.weight"], now["embedding.weight"])
    for name in was.keys() - {"embedding.weight"}:
        values = torch.linalg.svdvals((now[name] - was[name]).double())
        assert values[2] > 1e-4
        assert values[3] < 1e-4 * values[2], f"{name}: the update has more than three directions"
    assert all(p.requires_grad for p in after.parameters())


def test_layers_can_be_chosen() -> None:
    decoder, before = model(), model().state_dict()
    adapted(decoder, 2, torch.Generator().manual_seed(0), only=lambda name: "attention" in name)
    trained(decoder)
    now = merged(decoder).state_dict()
    moved = {name for name in before if not torch.equal(before[name], now[name])}
    assert moved == {name for name in before if "attention" in name}
    for rank, only in ((0, None), (2, lambda name: False)):
        with pytest.raises(ValueError, match="rank of at least 1 and a linear layer"):
            adapted(model(), rank, torch.Generator(), only=only)
