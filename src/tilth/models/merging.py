"""Weights as plain arrays: what several models of one shape have in common, averaged.

>>> import torch
>>> from tilth.models.transformer import Config, build
>>> one, two = (state_of(build(Config.of_depth(1, 300, 32), torch.Generator().manual_seed(i))) for i in range(2))
>>> half = average([one, two], [0.5, 0.5])
>>> bool(abs(half["embedding.weight"] * 2 - one["embedding.weight"] - two["embedding.weight"]).max() < 1e-6)
True
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from tilth.models.transformer import Config, Decoder

__all__ = ["State", "average", "decoder", "state_of"]

State = Mapping[str, npt.NDArray[np.float32]]
"""Name -> weights; a matrix that is used twice is there once, and buffers are there, too."""


def state_of(model: nn.Module) -> State:
    """A copy of all weights."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def decoder(config: Config, state: State, device: str = "cpu") -> Decoder:
    """A model with these weights; it shares no memory with them."""
    model = Decoder(config)
    model.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in state.items()})
    return model.to(device)


def average(states: Sequence[State], weights: npt.ArrayLike) -> State:
    """The weighted sum of states, added up in double precision; states of weight 0 are not looked at.

    Raises:
        ValueError: when the weights do not sum to 1, which would shrink or blow up every layer.
    """
    shares = np.asarray(weights, np.float64)
    if shares.shape != (len(states),) or abs(shares.sum() - 1) > 1e-6:
        raise ValueError(f"{len(states)} states need as many weights with the sum 1; got {shares.tolist()}")
    used = [(state, share) for state, share in zip(states, shares, strict=True) if share != 0]
    return {
        name: sum((state[name].astype(np.float64) * share for state, share in used), np.zeros(())).astype(np.float32)
        for name in used[0][0]
    }
