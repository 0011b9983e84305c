"""A curriculum over lengths: an encoder first reads one segment of each record, then two, then four.

A position is a place within a segment, by rotary positions that begin anew, and the segment's number, by a learned
vector that starts at zero. So a longer input changes nothing about shorter ones, and a segment that comes in later is
read from the first step on like those before it, until its vector has learned to tell it apart. Records of all lengths
stand in every batch, each cut to the segments of the moment.

Source: Bain et al. 2021, "Frozen in Time: A Joint Video and Image Encoder for End-to-End Retrieval" (arXiv 2104.00650),
which trains on images and on clips of one frame, then of more; segments of text are our reading of its frames.

>>> from tilth.models.transformer import Config
>>> shape = Config.of_depth(1, vocab=50, causal=False)
>>> encoder = Segmented.built(shape, torch.Generator().manual_seed(0), length=8, segments=4)
>>> growing = LengthCurriculum(encoder, steps=10, stages=((1, 0.4), (2, 0.3), (4, 0.3)))
>>> [growing.at(step) for step in range(10)], encoder.config.context  # as watch=growing of a trainer
([1, 1, 1, 1, 2, 2, 2, 4, 4, 4], 8)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from tilth.models.train import Examples
from tilth.models.transformer import Config, Decoder, attention_mask, build, norm, positions, rotations

__all__ = ["LengthCurriculum", "Segmented"]


class Segmented(Decoder):
    """A transformer whose positions are a place within a segment and the number of the segment.

    It takes the place of a `Decoder` in the trainers of `tune`, which cut records to ``config.context``: as many tokens
    as are in the segments it reads at the moment. Letters: B sequences, T positions, D width.

    Args:
        length: tokens of a segment.
        segments: how many it can read; see `extend`.

    Raises:
        ValueError: when one of them is below 1.
    """

    def __init__(self, config: Config, length: int, segments: int) -> None:
        if length < 1 or segments < 1:
            raise ValueError(f"at least 1 segment of at least 1 token must be read; got {segments} of {length}")
        super().__init__(replace(config, context=length * segments))
        self.length = length
        self.places = nn.Parameter(torch.zeros(segments, config.width))

    @classmethod
    def built(cls, config: Config, rng: torch.Generator, *, length: int, segments: int) -> Self:
        """Fresh weights as those of `transformer.build`; the segments' vectors are zero."""
        model = cls(config, length, segments)
        model.load_state_dict(build(config, rng).state_dict(), strict=False)
        return model

    @property
    def reads(self) -> int:
        """How many segments of a record are read now."""
        return self.config.context // self.length

    def read(self, segments: int) -> None:
        """From now on read so many segments of a record.

        Raises:
            ValueError: when there are no vectors for so many.
        """
        if not 1 <= segments <= len(self.places):
            raise ValueError(f"this encoder can read 1 to {len(self.places)} segments, not {segments}; extend it first")
        self.config = replace(self.config, context=self.length * segments)

    def extend(self, segments: int) -> None:
        """Make room for this many segments in all; the new vectors are zero. What is read now stays as it is.

        Make an optimizer only afterwards: the vectors become another parameter.

        Raises:
            ValueError: when there are as many already.
        """
        if segments <= len(self.places):
            raise ValueError(f"this encoder can already read {len(self.places)} segments; extend it to more")
        new = self.places.new_zeros(segments, self.places.shape[1])
        new[: len(self.places)] = self.places.detach()
        self.places = nn.Parameter(new)

    def forward(self, tokens: Tensor, documents: Tensor | None = None, real: Tensor | None = None) -> Tensor:
        """As `Decoder.forward`, (B, T, D).

        Raises:
            ValueError: when the input is longer than the segments there are vectors for.
        """
        at = torch.arange(tokens.shape[1], device=tokens.device) if documents is None else positions(documents)
        if int(at.max()) >= self.length * len(self.places):
            raise ValueError(
                f"an input of {int(at.max()) + 1} tokens is longer than {len(self.places)} segments of {self.length}; "
                f"cut it, or extend the encoder"
            )
        mask = attention_mask(tokens.shape, documents, real, self.config.causal)
        x = norm(self.embedding(tokens)) + self.places[at // self.length]
        return self._hidden(x, rotations(at % self.length, self.config), mask, None)


class LengthCurriculum:
    """How many segments are read at each step: the `watch` of a trainer, which lengthens the encoder on the way.

    A run that was cut goes on with the segments of its step. The encoder reads those of the first stage at once.

    Args:
        steps: of the whole training.
        stages: segments and the share of the steps for which they are read, in order.

    Raises:
        ValueError: when shares do not sum to 1, or a stage reads fewer segments than the one before it or more than the
            encoder can.
    """

    def __init__(
        self, encoder: Segmented, steps: int, stages: Sequence[tuple[int, float]] = ((1, 0.4), (2, 0.3), (4, 0.3))
    ) -> None:
        counts, shares = [s for s, _ in stages], [share for _, share in stages]
        if not counts or counts != sorted(counts) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
            raise ValueError(f"stages are growing numbers of segments and shares that sum to 1; got {list(stages)}")
        encoder.read(counts[-1])  # refuses what it cannot
        self.encoder, self.counts = encoder, counts
        self.ends = np.round(np.cumsum(shares) * steps)
        encoder.read(self.at(0))

    def at(self, step: int) -> int:
        """Segments read at this step."""
        return self.counts[min(int(np.searchsorted(self.ends, step, side="right")), len(self.counts) - 1)]

    def __call__(self, seen: Examples) -> None:
        self.encoder.read(self.at(seen.step + 1))

    def state(self) -> Any:
        """See `Stateful`."""
        return self.encoder.reads

    def load(self, state: Any) -> None:
        """See `Stateful`."""
        self.encoder.read(state)
