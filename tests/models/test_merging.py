"""Are weights averaged as said, every one of them once?"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tilth.models.merging import average, decoder, state_of
from tilth.models.transformer import Config, Decoder, build

CONFIG = Config.of_depth(2, vocab=300, context=32)
TOKENS = torch.arange(24).view(2, 12)


def drawn(seed: int) -> Decoder:
    return build(CONFIG, torch.Generator().manual_seed(seed))


def test_every_parameter_and_buffer_is_there_once_and_comes_back() -> None:
    model = drawn(0)
    state = state_of(model)
    assert sum(a.size for a in state.values()) == sum(p.numel() for p in model.parameters())
    back = decoder(CONFIG, state)
    assert torch.equal(back(TOKENS), model(TOKENS))
    with torch.no_grad():
        back.embedding.weight.zero_()
    assert state["embedding.weight"].any(), "a model shares no memory with the state it was made from"


def test_average_is_the_weighted_sum_of_each_array() -> None:
    states = [state_of(drawn(seed)) for seed in range(3)]
    made = average(states, [0.5, 0.2, 0.3])
    for name, array in made.items():
        expected = 0.5 * states[0][name] + 0.2 * states[1][name] + 0.3 * states[2][name]
        assert array.dtype == np.float32
        assert array == pytest.approx(expected, abs=1e-6)
    one = average(states, [0.0, 1.0, 0.0])
    assert all((one[name] == states[1][name]).all() for name in one), "a single weight of 1 changes no bit"
    same = average([states[0]] * 3, [0.2, 0.3, 0.5])
    assert all(same[name] == pytest.approx(states[0][name], abs=1e-6) for name in same)


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1.0], [0.2, 0.3, 0.5]])
def test_weights_that_do_not_sum_to_1_are_refused(weights: list[float]) -> None:
    states = [state_of(drawn(seed)) for seed in range(2)]
    with pytest.raises(ValueError, match="sum 1"):
        average(states, weights)
