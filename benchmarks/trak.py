"""TRAK against the `traker` package: which foresees better what training on random halves does, and seconds.

    python benchmarks/trak.py --data ../shared/data --peer FOLDER

FOLDER is where ``pip install --no-deps --target FOLDER traker==0.3.2`` put that package; it runs in this process, with
this torch and one thread. The pool is 500 sentences of SUBJ, 60 others are the items. An encoder of one layer is
trained with ten seeds by the signal's learner, and both methods get its last weights and project to as many numbers.
Then an encoder is trained anew on each of 100 random halves, six times, which takes most of the time; the mark is the
linear datamodelling score: for each item, the rank correlation, over the halves, of its log-odds under these models
with the sum of the half's scores; mean of the items, and its 95 % interval by the bootstrap over the halves. Beside it
the same for the mean of all items, which is what a signal is used for. How much there is to foresee, one half of the
trainings on each half shows: it is correlated with the other. The package is run as it comes, without a ridge;
so again with fewer numbers than records, as it then needs; and with our ridge. Projecting, inverting
and scoring are timed, in processor seconds. `tracin` has one seed's six passes.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tilth.core import Run, TablePool
from tilth.io.streams import blocks, lines
from tilth.models.batches import reading_order
from tilth.models.learner import Learner, _EncoderSnapshot
from tilth.models.linear import encode_labels
from tilth.models.optim import Options, precision_of
from tilth.models.train import generator, threads
from tilth.models.trak import attribute, log_odds
from tilth.models.transformer import Classifier, build
from tilth.models.tune import classify, padded_to, train_classifier
from tilth.signals.influence.trak import Trak

RECORDS, ITEMS, HALVES, AGAIN = 500, 60, 100, 6
LEARNER = Learner(model="encoder", seeds=10, passes=6, depth=1, vocab=1024, context=32, batch=16)
PEER_BATCH = 250
FEW = RECORDS // 4
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Pool and items, and the models trained on the pool."""

    pool: TablePool
    labels: Ints
    items: pa.ChunkedArray
    wanted: Ints
    models: Sequence[_EncoderSnapshot]
    doubts: Floats
    run: Run


def world_of(data: Path, learner: Learner, run: Run) -> World:
    file = data / "C_labeled" / "subjectivity.jsonl.zst"
    rows = [orjson.loads(line) for _, line, _ in lines(blocks(file))]
    rows = [rows[i] for i in Run().rng("records").permutation(len(rows))[: RECORDS + ITEMS]]
    texts, said = [r["text"] for r in rows], [str(r["label"]) for r in rows]
    labels, _ = encode_labels(said)
    ids = [str(i) for i in range(RECORDS)]
    pool = TablePool(pa.table({"id": ids, "text": texts[:RECORDS], "label": said[:RECORDS]}), "labeled")
    doubts = 1 - learner.record(pool, run).gold[:, -1].astype(np.float64)
    models = [learner.snapshot(learner.passes - 1, pool, run, seed) for seed in range(learner.seeds)]
    some = [model for model in models if isinstance(model, _EncoderSnapshot)]
    return World(pool, labels[:RECORDS], pa.chunked_array([texts[RECORDS:]]), labels[RECORDS:], some, doubts, run)


def halves(world: World, learner: Learner, count: int) -> tuple[Floats, Floats]:
    """Which records each half has, (halves, records), and log-odds after training, (trainings, halves, items)."""
    first = world.models[0]
    ours, theirs = (first.tokenizer.encode_batch(t.to_pylist()) for t in (world.pool.column("text"), world.items))
    has, found = np.zeros((count, RECORDS)), np.zeros((AGAIN, count, ITEMS))
    for half in range(count):
        chosen = Run().rng("half", half).permutation(RECORDS)[: RECORDS // 2]
        has[half, chosen] = 1
        for again in range(AGAIN):
            run = Run().at("half", half, again)
            order = reading_order(has[half].astype(np.int32) * learner.passes, run.rng("order"))
            with threads(1):
                model = Classifier(build(first.config, generator(run.rng("init"))), first.classes)
                options = Options(rate=first.config.rate, batch=learner.batch, precision=precision_of("auto"))
                train_classifier(model, ours, world.labels, order, options)
                p = classify(model.eval(), theirs)
            found[again, half] = log_odds(np.log(np.maximum(p, 1e-30)), world.wanted)
    return has, found


def ours(world: World, signal: Trak) -> tuple[Floats, float]:
    """Scores (records, items) and seconds."""
    began, models = time.process_time(), []
    for doubt, model in zip(world.doubts, world.models, strict=True):
        phi = model.features(world.pool.column("text"), world.labels, signal.width, Run())
        theirs = model.features(world.items, world.wanted, signal.width, Run())
        models.append((phi, doubt, theirs))
    return attribute(models, signal.ridge), time.process_time() - began


class Flat(nn.Module):
    """A classifier that takes one tensor, as the package gives it: ids, -1 where a text is filled up."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, ids: Tensor) -> Tensor:
        return self.inside(ids.clamp(min=0), ids >= 0)  # type: ignore[no-any-return]


def theirs(world: World, width: int, ridge: float) -> tuple[Floats, float]:
    """The package's scores and seconds."""
    trak = importlib.import_module("trak")
    task = importlib.import_module("trak.modelout_functions").ImageClassificationModelOutput()
    encoder = world.models[0].classifier(Run())

    def tensors(texts: pa.ChunkedArray, labels: Ints) -> tuple[Tensor, Tensor]:
        encoded = world.models[0].tokenizer.encode_batch(texts.to_pylist())
        ids, real = padded_to(encoder.encoder, encoded, np.arange(labels.size))
        return torch.where(real, ids, -1), torch.from_numpy(labels)

    parts = {"pool": tensors(world.pool.column("text"), world.labels), "items": tensors(world.items, world.wanted)}
    nets = [Flat(model.classifier(Run())).eval() for model in world.models]
    # Vectorised, torch has no rule for its fused attention and says so: the plain one is the faster here.
    with tempfile.TemporaryDirectory() as folder, threads(1), sdpa_kernel(SDPBackend.MATH):
        began = time.process_time()
        made = trak.TRAKer(
            nets[0], task, RECORDS, save_dir=folder, device="cpu", proj_dim=width, use_half_precision=False,
            logging_level=logging.ERROR, lambda_reg=ridge,
        )  # fmt: skip
        for number, net in enumerate(nets):
            made.load_checkpoint(net.state_dict(), model_id=number)
            for start in range(0, RECORDS, PEER_BATCH):
                batch = [t[start : start + PEER_BATCH] for t in parts["pool"]]
                made.featurize(batch=batch, num_samples=len(batch[0]))
        made.finalize_features()
        for number, net in enumerate(nets):
            made.start_scoring_checkpoint("items", net.state_dict(), number, num_targets=ITEMS)
            made.score(batch=[*parts["items"]], num_samples=ITEMS)
        scores = np.array(made.finalize_scores("items"), np.float64)
        return scores, time.process_time() - began


def tracin(world: World, learner: Learner) -> tuple[Floats, float]:
    """Inner products of last-layer gradients, summed over the first seed's passes."""
    began, total = time.process_time(), np.zeros((RECORDS, ITEMS))
    for number in range(learner.passes):
        model = learner.snapshot(number, world.pool, world.run)
        mine = model.gradients(world.pool.column("text"), world.labels, Run())
        other = model.gradients(world.items, world.wanted, Run())
        total += np.stack([mine.along(other.mean(one)) for one in np.eye(ITEMS)], 1)
    return total, time.process_time() - began


def marks(scores: Floats, has: Floats, found: Floats) -> tuple[float, float]:
    """The linear datamodelling score, and the same for the items' mean."""
    said = has @ scores
    each = [spearmanr(said[:, i], found[:, i]).statistic for i in range(ITEMS)]
    return float(np.mean(each)), float(spearmanr(said.mean(1), found.mean(1)).statistic)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the development data, with C_labeled")
    parser.add_argument("--peer", type=Path, required=True, help="where traker is installed")
    parser.add_argument("--width", type=int, default=Trak().width, help="numbers that both project to")
    parser.add_argument("--halves", type=int, default=HALVES)
    args = parser.parse_args()
    sys.path.insert(0, str(args.peer))  # before this folder, whose trak.py is this file
    signal = Trak(learner=LEARNER, width=args.width)
    with tempfile.TemporaryDirectory() as folder:
        world = world_of(args.data, LEARNER, Run(shared=Path(folder)))
        for model in world.models[:1]:  # what is compiled or allocated once is paid for here
            model.features(world.items, world.wanted, signal.width, Run())
        found = {"tilth, trak": ours(world, signal)}
        size = sum(float((m.features(world.pool.column("text"), world.labels, signal.width, Run()).astype(float) ** 2)
                         .sum(1).mean()) for m in world.models) / LEARNER.seeds  # fmt: skip
        numbers = sum(p.numel() for p in world.models[0].classifier(Run()).parameters())
        same = signal.ridge * size * signal.width / numbers  # the package divides by weights, not by numbers
        found["traker, as it comes"] = theirs(world, signal.width, 0.0)
        found[f"traker, without ridge, {FEW} numbers"] = theirs(world, FEW, 0.0)
        found["traker, with our ridge"] = theirs(world, signal.width, same)
        found["tilth, tracin"] = tracin(world, LEARNER)
        began = time.process_time()
        has, trained = halves(world, LEARNER, args.halves)
        spent = time.process_time() - began
    outcomes = trained.mean(0)
    one, other = trained[::2].mean(0), trained[1::2].mean(0)
    again = np.mean([spearmanr(one[:, i], other[:, i]).statistic for i in range(ITEMS)])
    draws = [Run().rng("bootstrap", i).integers(0, args.halves, args.halves) for i in range(200)]
    accuracy = float((outcomes.mean(0) > 0).mean())
    print(f"{RECORDS:,} records, {ITEMS} items, {args.halves} halves trained {AGAIN} times each in {spent:.0f} s; "
          f"{numbers:,} weights, {signal.width} numbers; a half's models have {accuracy:.0%} of the items right."
        f"\nOne half of the trainings foresees the other with a score of {again:.3f}\n")  # fmt: skip
    print("| scores | datamodelling score | of the items' mean | seconds |\n|---|---:|---:|---:|")
    first, seconds = found["tilth, trak"]
    for name, (scores, took) in found.items():
        each, mean = marks(scores, has, outcomes)
        low, high = np.percentile([marks(scores, has[rows], outcomes[rows])[0] for rows in draws], [2.5, 97.5])
        print(f"| {name} | {each:.3f} [{low:.3f}, {high:.3f}] | {mean:.3f} | {took:.2f} |")
    for name in [name for name in found if name.startswith("traker")]:
        ratio = marks(first, has, outcomes)[0] / marks(found[name][0], has, outcomes)[0]
        same_as = spearmanr(first.ravel(), found[name][0].ravel()).statistic
        print(f"\n{name}: ours has {ratio:.2f} times its score in 1/{found[name][1] / seconds:.1f} of the time; "
              f"rank correlation of all scores {same_as:.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
