"""Stream: a plan as batches of token windows, the same whoever reads them, and resumed to the bit."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from tilth.core.errors import PoolCorrupt, UsageError
from tilth.core.method import digest
from tilth.core.plan import Groups, Plan
from tilth.core.pool import Pool
from tilth.core.run import Run
from tilth.engine.local import Workers
from tilth.engine.store import locked
from tilth.engine.stream_index import VERSION, Order, index
from tilth.engine.token_cache import TokenCache, discard, token_cache, writable
from tilth.kernels.windows import fill
from tilth.models.tokenizer import Tokenizer

if TYPE_CHECKING:
    from torch.utils.data import IterableDataset

    from tilth.models.steer import Steer

__all__ = ["Buckets", "Packing", "Step", "Stream"]

Ints = npt.NDArray[np.int64]
_Made = tuple[Plan, Pool, Tokenizer, Path | str, Workers]
Packing = Literal["best_fit", "first_fit", "chunk", "none"]
PACKINGS: tuple[Packing, ...] = get_args(Packing)


@dataclass(frozen=True)
class Buckets:
    """Windows of 2^k + 1 tokens of one record each, one k for all windows of a step (dataset decomposition).

    A step has as many tokens whatever its k, so windows of few tokens are many. No record attends to another, nothing
    is filled, and attention costs what a window's own length costs; what is left of a record when not even `shortest`
    tokens are is not read. Source: arXiv 2405.13226.

    Attributes:
        shortest: tokens predicted in the shortest windows, a power of two; the longest are the stream's `context`.
        curriculum, cycles: which lengths come first, and how often they begin anew; see `tilth.models.buckets`.
    """

    shortest: int = 256
    curriculum: str = "grow-p2"
    cycles: int = 8


@dataclass(frozen=True)
class Step:
    """What one rank reads at one step.

    Attributes:
        epoch, step: where the stream is, counted from 0.
        input_ids: (windows, context) int64; the end token where it is filling.
        labels: the same ids where they are learned, -100 elsewhere: in filling, in what a user says, in what stands
            before a record of a conditioned plan, and at the first token of a record or of a piece of one where nothing
            before predicts it. Not shifted: logits at a position predict the next one's label.
        position_ids: counted from 0 in every record, or piece of one, its prefix included.
        segment_ids: which record of its window a position belongs to; -1 is filling.
        records: (pieces,) row number in the pool of every piece of a record, window after window.
        windows: (pieces,) the window of each.
        groups: the group of each window, of a stream that is grouped.
    """

    epoch: int
    step: int
    input_ids: Ints
    labels: Ints
    position_ids: Ints
    segment_ids: Ints
    records: Ints
    windows: Ints
    groups: tuple[str, ...] = ()

    def model_inputs(self) -> dict[str, Ints]:
        """What a model's forward pass takes."""
        names = ("input_ids", "labels", "position_ids", "segment_ids")
        return {name: getattr(self, name) for name in names}


class Stream:
    """Batches of a plan.

    A function of plan, pool, tokenizer and settings alone: the records at a step are the same for any number of ranks
    and of worker processes, and whether or not reading was broken off in between. Sources keep their shares at every
    place, but for records that a policy has put in order (`Plan.reading_order`). Tokens and the order lie on disk, made
    once and mapped: opening a stream that was opened before takes milliseconds, and memory does not grow with the pool.

    Args:
        plan: what is read. One that an online policy steers must be `grouped`.
        pool: text or dialogues.
        tokenizer: must have a token that ends a document.
        batch: most windows of a step, over all ranks; the windows of an epoch are dealt to its steps evenly.
        context: tokens of a window.
        packing: ``best_fit`` and ``first_fit`` put whole records side by side (longer ones are cut to pieces first),
            ``chunk`` cuts the joined records every `context` tokens, ``none`` gives every record a window of its own
            and cuts off what is longer; `Buckets` makes windows of many lengths. Dialogues are never cut between an
            assistant's words: one that is too long is cut between rounds, and left out where a round alone is.
            In a conditioned plan every piece of a record begins with its prefix, except in chunks: what goes on in the
            next window goes on without it.
        across: whether records of a window may attend to each other: one position count, one segment.
        grouped: whether a window holds records of one group only (a source, or what the plan's online policy mixes), to
            be read by `drawn`.
        epochs: how often the plan is read, each time in another order. A stream at its end stays there.
        seed: of the order.
        rank, world: which part of each step is read here, both or none given; by default those of `torch.distributed`
            if it runs, else all.
        cache: folder for tokens and order; a remote one such as ``s3://bucket/tokens`` is copied from.
        workers: processes that encode what is not yet in the cache.
        prefetch: steps prepared by a thread beforehand; 0 prepares them when asked for.

    Attributes:
        epoch, step: what is read next; `state_dict` holds both.
        waited: seconds that iterating waited for steps being prepared.

    Raises:
        UsageError: when the plan is over another pool, or steered, or puts prefixes before dialogues, or the ranks do
            not divide the batch.
        BadInput: when there is nothing to read.
    """

    def __init__(
        self,
        plan: Plan,
        pool: Pool,
        tokenizer: Tokenizer,
        *,
        batch: int = 8,
        context: int = 1024,
        packing: Packing | Buckets = "best_fit",
        across: bool = False,
        grouped: bool = False,
        epochs: int = 1,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        cache: Path | str = "build/tokens",
        workers: Workers | None = None,
        prefetch: int = 2,
    ) -> None:
        if plan.pool != pool.fingerprint:
            raise UsageError(f"The plan is over the pool {plan.pool}; this one is {pool.fingerprint}. Plan anew.")
        if (rank is None) != (world is None):
            raise UsageError(f"rank and world are given together, or neither. Got {rank} and {world}.")
        if rank is None or world is None:
            rank, world = _distributed()
        for name, value, least in (("batch", batch, 1), ("context", context, 2), ("epochs", epochs, 1)):
            if value < least:
                raise UsageError(f"A stream's {name} is at least {least}. Got {value}.")
        buckets = packing if isinstance(packing, Buckets) else None
        if buckets is not None and not (_is_power(context) and _is_power(buckets.shortest) and not grouped):
            raise UsageError("Buckets need a context and a shortest length that are powers of two, and no groups.")
        if buckets is None and packing not in PACKINGS:
            raise UsageError(f"packing is one of {', '.join(PACKINGS)}. Got {packing!r}.")
        if not (0 <= rank < world and batch % world == 0):
            raise UsageError(f"Rank {rank} of {world} cannot have an equal part of {batch} windows a step.")
        if plan.steering is not None and not grouped:
            raise UsageError(
                f"The online policy {plan.steering.policy.get('use')} moves this plan's shares while a model is "
                f"trained, so its order is not known beforehand. Make the stream `grouped` and read it by `drawn`."
            )
        plan.require_plain("A stream", prefixes=True)
        if plan.conditioning is not None and pool.kind == "instruction":
            raise UsageError(
                "A prefix before a dialogue would stand in nobody's turn. Say what is known in a system turn of the "
                "dialogues, or leave metadata_prefix out."
            )
        self.batch, self.context, self.epochs, self.across = batch, context, epochs, across
        self.rank, self.world, self.prefetch = rank, world, prefetch
        self.epoch = self.step = 0
        self.waited = 0.0
        self._made: _Made | None = (plan, pool, tokenizer, cache, workers or Workers(1, Run().progress))
        self._told: dict[str, Any] = {
            "version": VERSION,
            "plan": plan.fingerprint,
            "pool": pool.fingerprint,
            "tokenizer": tokenizer.fingerprint,
            "packing": packing if buckets is None else "buckets",
            "buckets": vars(buckets) if buckets is not None else None,
            "context": context,
            "batch": batch,
            "across": across,
            "grouped": grouped,
            "seed": seed,
        }
        self._open()

    # ---- what it is --------------------------------------------------------------------------

    @property
    def steps(self) -> int:
        """Steps of the epoch in hand."""
        return int(self._order.arrays["widths"].size)

    @property
    def facts(self) -> dict[str, float]:
        """Of the epoch in hand: readings, tokens of records and of what stands before them, windows, share of filling,
        what is cut and what is left out."""
        return {name: value for name, value in self._order.facts.items() if name != "groups"}

    @property
    def groups(self) -> dict[str, int]:
        """How many windows each group has, of a stream that is `grouped`."""
        return dict(self._order.facts["groups"])

    def __len__(self) -> int:
        return self.steps

    def mixture(self, by: Groups, records: int = 10_000) -> npt.NDArray[np.float64]:
        """Share of the tokens that each group has in each stretch of so many records, (stretches, groups).

        Stretches are those in which the epoch is read, of pieces of records, so that a record that is cut counts as
        often as it has pieces; the last is shorter.
        """
        try:
            self._order.whole()
        except PoolCorrupt as error:
            self._reorder(error)
        group = by.index[self._cache.rows[self._order.arrays["places"]]]
        cell = np.arange(group.size) // records * len(by.names) + group
        size = -(-group.size // records) * len(by.names)
        tokens = np.bincount(cell, self._order.arrays["lengths"], size).reshape(-1, len(by.names))
        return np.asarray(tokens / tokens.sum(1, keepdims=True))

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ids."""
        assert self._made is not None
        return self._made[2].decode(ids)

    # ---- reading -----------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Step]:
        """From where the stream is to its end. The state moves when a step is handed out."""
        while self.epoch < self.epochs:
            for step in self._ahead(range(self.step, self.steps)):
                self._moved(step)
                yield step
            if self.step >= self.steps:
                self._turn(self.epoch + 1)

    def at(self, step: int) -> Step:
        """One step of the epoch in hand."""
        if not 0 <= step < self.steps:
            raise UsageError(f"Epoch {self.epoch} has the steps 0 to {self.steps - 1}. Got {step}.")
        first, last = self._order.arrays["steps"][step : step + 2].tolist()
        each = max(self.batch, last - first) // self.world
        mine = np.arange((last - first) * self.rank // self.world, (last - first) * (self.rank + 1) // self.world)
        return self._windows(step, first + mine, each, int(self._order.arrays["widths"][step]))

    def drawn(self, steer: Steer, steps: int) -> Iterator[Step]:
        """Windows drawn by shares that may change between any two steps, for `steps` steps from where the stream is.

        Make the `tilth.models.steer.Steer` over this stream's `groups`, call its `update` after each step, and keep its
        `state_dict` beside the stream's; its log, written into a plan with `Plan.replaying`, repeats the reading. Every
        rank draws all windows and prepares its own. A group that is used up is read again in another order.

        Raises:
            UsageError: when the stream is not grouped, or the groups are others.
        """
        if dict(steer.groups) != self.groups or not self.groups:
            raise UsageError(
                f"A steered stream is grouped, and its groups are {self.groups}; got {dict(steer.groups)}."
            )
        begins, first = {}, 0
        for name, count in self.groups.items():
            begins[name], first = first, first + count
        each = self.batch // self.world
        for step in range(self.step, steps):
            mine = [steer.draw() for _ in range(self.batch)][self.rank * each : (self.rank + 1) * each]
            rows = np.array([begins[name] + place for name, place in mine])
            self.step = step + 1
            yield replace(self._windows(step, rows, each, self.context), groups=tuple(name for name, _ in mine))

    def _windows(self, number: int, which: Ints, count: int, width: int) -> Step:
        """These windows, in this order; the step is filled up to so many."""
        try:
            self._order.check(which)
        except PoolCorrupt as error:
            self._reorder(error)
        index = self._order.arrays
        begins = index["begins"]
        counts = begins[which + 1] - begins[which]
        rows = np.repeat(np.arange(which.size), counts)
        some = np.arange(rows.size) + np.repeat(begins[which] - np.cumsum(counts) + counts, counts)
        starts, lengths, places = index["starts"][some], index["lengths"][some].astype(np.int64), index["places"][some]
        try:
            self._cache.check(starts, starts + lengths)
        except PoolCorrupt as error:
            self._mend(error)
        out = np.empty((4, count, width), np.int64)
        learned = self._cache.learned if self._cache.learned is not None else np.zeros(0, np.uint8)
        before = self._order.before(some)
        fill(self._cache.ids, learned, starts, lengths, rows, before, self.across, self._cache.told["end"], out)
        return Step(self.epoch, number, out[0], out[1], out[2], out[3], self._cache.rows[places], rows)

    def loader(self, workers: int = 0, **options: Any) -> Iterator[Mapping[str, Any]]:
        """The steps as tensors, by a DataLoader whose processes each prepare every so many steps.

        The stream's state moves with what is handed out here, not with what the processes prepare beforehand.

        Args:
            options: of the DataLoader, such as `pin_memory` or `multiprocessing_context`.
        """
        from torch.utils.data import DataLoader

        while self.epoch < self.epochs:
            loader = DataLoader(self.dataset(), batch_size=None, num_workers=workers, **options)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "lance is not fork-safe")  # no process reads the pool
                steps = iter(loader)
            for told in steps:
                self.epoch, self.step = told["epoch"], told["step"] + 1
                yield told
            self._turn(self.epoch + 1)

    def dataset(self, single: bool = False) -> IterableDataset[Any]:
        """The rest of the epoch in hand as dictionaries of tensors, for a DataLoader with ``batch_size=None``.

        Args:
            single: windows one by one, for a loader that makes batches of ``batch / world`` of them itself, such as
                that of a Trainer.
        """
        from tilth.engine.torch_stream import Steps

        return Steps(self, single)

    # ---- resuming ----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """What is read next, and of what: under a kilobyte of plain data."""
        return {**self._told, "epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another stream was, of any number of ranks and workers.

        Raises:
            UsageError: when that one read something else; both are named.
        """
        for name, mine in self._told.items():
            if state.get(name) != mine:
                raise UsageError(
                    f"The state is of a stream with {name} {state.get(name)!r}; this one has {mine!r}. Make the stream "
                    f"as it was, or start anew without the state."
                )
        if state["epoch"] != self.epoch:
            self._turn(int(state["epoch"]))
        if not 0 <= state["step"] <= self.steps and not self._told["grouped"]:  # `drawn` reads groups again
            raise UsageError(f"Epoch {self.epoch} has {self.steps} steps; the state is after {state['step']}.")
        self.step = int(state["step"])

    def seek(self, updates: int, each: int = 1) -> None:
        """Go to where so many updates of a model lead, from the first epoch on.

        Args:
            each: steps of an update; an epoch's last has what is left.

        Raises:
            UsageError: when all epochs have fewer.
        """
        left, epoch = updates, 0
        while True:
            if epoch != self.epoch:
                self._turn(epoch)
            if left < (here := -(-self.steps // each)):
                self.step = left * each
                return
            left, epoch = left - here, epoch + 1
            if epoch >= self.epochs:
                raise UsageError(
                    f"The stream has {updates - left} updates in {self.epochs} epochs, and more are asked for. Make it "
                    f"with more `epochs`, or train for fewer steps."
                )

    def __getstate__(self) -> dict[str, Any]:
        """For worker processes: paths instead of maps, and nothing of the plan; making anew is not for them."""
        left = {"_made", "_order", "waited"}
        return {name: value for name, value in vars(self).items() if name not in left}

    def without_pool(self) -> Stream:
        """This stream as another process may read it, which makes nothing anew."""
        other = object.__new__(type(self))
        vars(other).update(vars(self), _made=None)
        return other

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state, _made=None, waited=0.0)
        self._order = Order.open(self._folder)

    # ---- behind it ---------------------------------------------------------------------------

    def _open(self) -> None:
        assert self._made is not None
        plan, pool, tokenizer, cache, workers = self._made
        rows = np.flatnonzero(plan.kept).astype(np.int64)
        self._cache: TokenCache = token_cache(cache, pool, rows, tokenizer, workers)
        self._turn(self.epoch, self.step)

    def _turn(self, epoch: int, step: int = 0) -> None:
        """To another epoch; its index is made if it is not there."""
        self.epoch, self.step = epoch, step
        if epoch < self.epochs:
            self._ordered(epoch)

    def _ordered(self, epoch: int) -> None:
        told = {name: value for name, value in self._told.items() if name != "across"}
        self._folder = self._cache.folder / f"order-{digest([told, epoch])}"
        with contextlib.suppress(PoolCorrupt):
            self._order = Order.open(self._folder)  # without the lock: the folder may be one that cannot be written to
            return
        with writable(self._cache.folder), locked(self._folder, wait=float("inf")):
            try:
                self._order = Order.open(self._folder)
            except PoolCorrupt:
                if self._made is None:
                    raise
                plan, _, tokenizer, _, _ = self._made
                run = Run(seed=told["seed"]).at("stream", epoch)
                index(plan, self._cache, self._folder, told, tokenizer, run)
                self._order = Order.open(self._folder)

    def _moved(self, step: Step) -> None:
        self.epoch, self.step = step.epoch, step.step + 1

    def _ahead(self, steps: range) -> Iterator[Step]:
        """The steps, prepared by a thread as far ahead as `prefetch` says."""
        if self.prefetch <= 0:
            yield from map(self.at, steps)
            return
        ready: queue.Queue[Step | BaseException | None] = queue.Queue(self.prefetch)
        stop = threading.Event()

        def put(item: Step | BaseException | None) -> None:
            while not stop.is_set():
                with contextlib.suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    break

        def work() -> None:
            try:
                for step in steps:
                    if stop.is_set():
                        return
                    put(self.at(step))
                put(None)
            except BaseException as error:  # raised again where the step is asked for
                put(error)

        threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                began = time.perf_counter()
                item = ready.get()
                self.waited += time.perf_counter() - began
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()

    def _reorder(self, error: PoolCorrupt) -> None:
        """Make a broken order anew and go on; the same comes out."""
        with writable(self._folder), locked(self._folder, wait=float("inf")):
            (self._folder / "facts.json").unlink(missing_ok=True)
        if self._made is None:
            raise error
        warnings.warn(f"{error} Making it anew.", stacklevel=2)
        self._ordered(min(self.epoch, self.epochs - 1))

    def _mend(self, error: PoolCorrupt) -> None:
        """Make a broken cache anew and go on; the same tokens come out."""
        if self._made is None:
            discard(self._cache)
            raise error
        warnings.warn(f"{error} Making it anew.", stacklevel=2)
        _, pool, tokenizer, cache, workers = self._made
        discard(self._cache)
        self._cache = token_cache(
            cache, pool, self._cache.rows.copy(), tokenizer, workers or Workers(1, Run().progress)
        )


def _is_power(number: int) -> bool:
    return number > 1 and number & (number - 1) == 0


def _distributed() -> tuple[int, int]:
    """Rank and number of processes of `torch.distributed`, if it runs."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
