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
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tilth.models.train import Examples
from tilth.models.transformer import Config, Decoder, attention_mask, build, norm, positions, rotations

__all__ = ["LengthCurriculum", "Segmented", "segments_of"]

Stages: TypeAlias = Sequence[tuple[int, float]]


class Segmented(Decoder):
    """An encoder whose positions are a place within a segment and the number of the segment.

    `train_contrastive`, `train_classifier` and `embed` take it like any encoder and cut records to ``config.context``:
    as many tokens as are in the segments it reads at the moment. Letters: B sequences, T positions, D width.

    Args:
        length: tokens of a segment.
        segments: how many it can read; see `extend`.

    Raises:
        ValueError: when one of them is below 1, or the configuration is a decoder's.
    """

    def __init__(self, config: Config, length: int, segments: int) -> None:
        if length < 1 or segments < 1:
            raise ValueError(f"at least 1 segment of at least 1 token must be read; got {segments} of {length}")
        if config.causal:
            raise ValueError("segments are read by an encoder; say causal=False in its configuration")
        super().__init__(replace(config, context=length * segments))
        self.length = length
        self.segment_embedding = nn.Parameter(torch.zeros(segments, config.width))

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
        if not 1 <= segments <= len(self.segment_embedding):
            raise ValueError(
                f"this encoder can read 1 to {len(self.segment_embedding)} segments, not {segments}; extend it first"
            )
        self.config = replace(self.config, context=self.length * segments)

    def extend(self, segments: int) -> None:
        """Make room for this many segments in all; the new vectors are zero. What is read now stays as it is.

        Make an optimizer only afterwards: the vectors become another parameter.

        Raises:
            ValueError: when there are as many already.
        """
        if segments <= len(self.segment_embedding):
            raise ValueError(f"this encoder can already read {len(self.segment_embedding)} segments; extend it to more")
        new = self.segment_embedding.new_zeros(segments, self.segment_embedding.shape[1])
        new[: len(self.segment_embedding)] = self.segment_embedding.detach()
        self.segment_embedding = nn.Parameter(new, self.segment_embedding.requires_grad)

    def forward(self, tokens: Tensor, documents: Tensor | None = None, real: Tensor | None = None) -> Tensor:
        """As `Decoder.forward`, (B, T, D).

        Raises:
            ValueError: when the input is longer than the segments there are vectors for.
        """
        at = torch.arange(tokens.shape[1], device=tokens.device) if documents is None else positions(documents)
        longest, most = int(at.max()) + 1, len(self.segment_embedding)
        if longest > self.length * most:
            raise ValueError(
                f"an input of {longest} tokens is longer than {most} segments of {self.length}; cut it, or extend the "
                f"encoder"
            )
        mask = attention_mask(tokens.shape, documents, real, self.config.causal)
        x = norm(self.embedding(tokens)) + self.segment_embedding[at // self.length]
        return self._hidden(x, rotations(at % self.length, self.config), mask, None)


class LengthCurriculum:
    """How many segments are read at each step: the `watch` of a trainer, which lengthens the encoder on the way.

    A run that was cut goes on with the segments of its step. The encoder reads those of the first stage at once, and
    after the last step those of the last. What a trainer measures on the way is measured at the length of the next
    step; for a curve at one length, `measure` should set it by `Segmented.read` and set it back.

    Args:
        steps: of the whole training.
        stages: segments and the share of the steps for which they are read, in order.

    Raises:
        ValueError: when shares do not sum to 1, or a stage reads fewer segments than the one before it or more than the
            encoder can.
    """

    def __init__(self, encoder: Segmented, steps: int, stages: Stages = ((1, 0.4), (2, 0.3), (4, 0.3))) -> None:
        self.segments = segments_of(stages, steps)
        self.last = stages[-1][0]
        encoder.read(self.last)  # refuses what it cannot
        self.encoder = encoder
        encoder.read(self.at(0))

    def at(self, step: int) -> int:
        """Segments read at this step."""
        return int(self.segments[step]) if step < self.segments.size else self.last

    def __call__(self, seen: Examples) -> None:
        self.encoder.read(self.at(seen.step + 1))

    def state(self) -> Any:
        """See `Stateful`."""
        return self.encoder.reads

    def load(self, state: Any) -> None:
        """See `Stateful`."""
        self.encoder.read(state)


def segments_of(stages: Stages, steps: int) -> npt.NDArray[np.int64]:
    """Segments read at each step, (steps,).

    Raises:
        ValueError: when shares do not sum to 1, or segments do not grow from at least 1.

    >>> segments_of(((1, 0.5), (2, 0.25), (4, 0.25)), 8).tolist()
    [1, 1, 1, 1, 2, 2, 4, 4]
    """
    counts, shares = [count for count, _ in stages], [share for _, share in stages]
    sound = counts and counts == sorted(counts) and counts[0] >= 1
    if not sound or not all(share >= 0 for share in shares) or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"stages are growing numbers of segments and shares that sum to 1; got {list(stages)}")
    ends = np.round(np.cumsum(shares) * steps)
    place = np.searchsorted(ends, np.arange(steps), side="right")
    return np.array(counts, np.int64)[np.minimum(place, len(counts) - 1)]
