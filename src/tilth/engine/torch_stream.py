"""A stream as a torch dataset: each worker process prepares every so many steps, and their order stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from tilth.core.errors import MissingExtra

if TYPE_CHECKING:
    from tilth.engine.stream import Step, Stream

__all__ = ["Steps", "callback"]


class Steps(IterableDataset[dict[str, Any]]):
    """The rest of a stream's epoch; a DataLoader with ``batch_size=None`` hands out whole steps in order.

    A DataLoader takes the first step from its first process, the second from the second, and so on; so process w of W
    prepares the steps w, w + W, w + 2 W after the one the stream is at.

    Args:
        stream: where reading begins.
        single: hand out windows one by one, for a loader that makes batches of ``stream.batch / stream.world`` itself.
    """

    def __init__(self, stream: Stream, single: bool = False) -> None:
        self.stream, self.single = stream, single

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, each = (0, 1) if worker is None else (worker.id, worker.num_workers)
        # A process that was forked holds the pool, too, and must not touch it: what reads there has no pool.
        stream = self.stream if worker is None else self.stream.without_pool()
        for number in range(stream.step + first, stream.steps, each):
            step = stream.at(number)
            if not self.single:
                yield tensors(step)
                continue
            inputs = {name: torch.from_numpy(value) for name, value in step.model_inputs().items()}
            for row in range(len(step.input_ids)):
                yield {name: value[row] for name, value in inputs.items()}

    def __len__(self) -> int:
        each = self.stream.batch // self.stream.world if self.single else 1
        return (self.stream.steps - self.stream.step) * each


def tensors(step: Step) -> dict[str, Any]:
    """A step as a dictionary: numbers stay numbers, arrays become tensors."""
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in vars(step).items()}


def callback(stream: Stream) -> Any:
    """A ``TrainerCallback`` that sets the stream to where a Trainer begins, resumes, or begins another epoch.

    Give the Trainer ``stream.dataset(single=True)`` and a batch size of ``stream.batch`` on one device; set
    ``max_steps`` and, to resume, ``ignore_data_skip=True``: the stream goes there by itself, without reading what
    was read. A Trainer that is to read several epochs needs a stream of as many.

    Raises:
        UsageError: while training, when the Trainer goes on after the stream's last epoch.
        MissingExtra: without transformers.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingExtra(f"A TrainerCallback needs transformers: pip install 'tilth[hf]'. {error}") from None

    class StreamCallback(TrainerCallback):  # type: ignore[misc]
        """Sets the place of a stream before a Trainer reads: when it begins, resumes, and at every epoch."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step < state.max_steps:  # else it has ended and reads nothing
                stream.seek(state.global_step, args.gradient_accumulation_steps)

        def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            stream.seek(state.global_step, args.gradient_accumulation_steps)

    return StreamCallback()
