"""GeRe's pieces: labels of states, the margin loss in closed form and 0 at the start, slots in every batch."""

from __future__ import annotations

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch

from tilth.core import Run
from tilth.models.batches import Windows, reading_order, windows
from tilth.models.feeds import Batch
from tilth.models.losses import threshold_margins
from tilth.models.optim import Options
from tilth.models.replay import MarginReplay, Slots, States
from tilth.models.train import generator, train_lm
from tilth.models.transformer import Config, Decoder, build

CONFIG = Config(vocab=40, context=16, layers=1, width=32, heads=1, hidden=64)


def model(seed: int = 0) -> Decoder:
    made = build(CONFIG, generator(Run(seed=seed).rng("init")))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)))
    return made


def texts(step: int, records: int, seed: int = 0) -> Windows:
    starts = np.random.default_rng(seed).integers(0, 39, records)
    rows = (starts[:, None] + step * np.arange(11)) % 39 + 1
    order = reading_order(np.ones(records), np.random.default_rng(seed))
    return windows(np.arange(records + 1) * 11, rows.ravel().astype(np.uint32), order, CONFIG.context, 0)


def test_margins_of_each_label_by_hand() -> None:
    low, high = torch.tensor([-1.0, 0.0]), torch.tensor([1.0, 2.0])
    states = torch.tensor([[2.0, 1.0], [-3.0, 5.0]])
    for label, wanted in ((1, [[0, 1], [4, 0]]), (-1, [[3, 1], [0, 5]]), (0, [[1, 0], [2, 3]])):
        found = threshold_margins(states, torch.full((2, 2), label), low, high)
        assert found.tolist() == wanted


def test_states_leave_filling_out_and_give_no_loss_on_themselves() -> None:
    start, data = model(), texts(1, 13)
    states = States.of(start, data)
    batch = Batch.of(data, "cpu")
    hidden, learned = start(batch.inputs, batch.documents), batch.targets >= 0
    assert not bool(learned.all()), "the test needs filling"
    real = hidden[learned].detach()
    middle, spread = real.mean(0), real.std(0, correction=0)
    assert states.low.numpy() == pytest.approx((middle - spread).numpy(), abs=1e-5)
    assert states.high.numpy() == pytest.approx((middle + spread).numpy(), abs=1e-5)
    labels = torch.from_numpy(states.labels)
    assert (labels[~learned] == 0).all()
    assert set(labels[learned].flatten().tolist()) == {-1, 0, 1}
    kept = (real >= states.high).int() - (real <= states.low).int()
    assert (threshold_margins(real, kept, states.low, states.high) == 0).all(), "exactly 0 where labels are from"
    assert (kept == labels[learned]).float().mean() > 0.999
    other = States.of(start, data, width=0.5)
    assert np.abs(other.labels).sum() > np.abs(states.labels).sum()
    with pytest.raises(ValueError, match="no token"):
        States.of(start, data.take([]))


def test_every_batch_has_its_slots_and_the_task_is_read_once() -> None:
    task, replay = texts(1, 60), texts(3, 10, seed=1)
    feed = Slots(task, replay, 3, 8, Run(seed=2))
    assert feed.steps == -(-len(task) // 5)
    read, again, places = [], [], set()
    for step in range(feed.steps):
        batch = feed.batch(step)
        mine = feed.rows < 0
        assert (~mine).sum() == 3
        assert len(batch.inputs) == len(feed.rows)
        read += batch.inputs[torch.from_numpy(mine)].tolist()
        again += feed.rows[~mine].tolist()
        places |= set(np.flatnonzero(~mine).tolist())
        assert batch.inputs[torch.from_numpy(~mine)].tolist() == replay.inputs[feed.rows[~mine]].tolist()
        assert (batch.records[~mine] == -1).all()
    assert sorted(read) == sorted(task.inputs.tolist())
    turns = [again[a:b] for a, b in pairwise(range(0, len(again) + 1, len(replay)))]
    assert all(sorted(turn) == list(range(len(replay))) for turn in turns)
    assert len(turns) >= 2
    assert turns[0] != turns[1]
    assert len(places) > 5
    assert (feed.batch(1).inputs == Slots(task, replay, 3, 8, Run(seed=2)).batch(1).inputs).all()
    assert (Slots(task, replay, 0, 8, Run()).batch(0).inputs == Batch.of(task.take(np.arange(8)), "cpu").inputs).sum()
    for wrong, said in (((task, replay, 8, 8), "no room"), ((task, replay.take([]), 2, 8), "nothing to replay")):
        with pytest.raises(ValueError, match=said):
            Slots(*wrong, Run())


def test_the_loss_of_a_step_is_half_and_half_and_margins_start_at_0() -> None:
    task, replay, start = texts(1, 60), texts(3, 20, seed=1), model()
    feed, twin = Slots(task, replay, 3, 8, Run()), Slots(task, replay, 3, 8, Run())
    margin = MarginReplay(feed, States.of(start, replay), 50.0)
    batch = twin.batch(0)
    losses, learned = start.losses(batch.inputs, batch.targets, batch.documents).detach(), batch.targets >= 0
    again = torch.from_numpy(twin.rows >= 0)
    wanted = 0.5 * (losses[~again].sum() / learned[~again].sum() + losses[again].sum() / learned[again].sum())
    trained = train_lm(copy.deepcopy(start), feed, Options(rate=1e-3, batch=8), beside=margin, weigh=margin.weigh)
    assert trained.losses[0] == pytest.approx(float(wanted), abs=1e-4)
    moved = model(seed=5)
    feed.batch(0)
    hidden = moved(batch.inputs, batch.documents)
    assert margin(batch, hidden).item() > 1.0
    with pytest.raises(ValueError, match="are replayed"):
        MarginReplay(feed, States.of(start, replay.take([0])))


def test_margins_hold_the_states() -> None:
    """After training on a task without replayed text in the loss, states are nearer to where they were."""
    task, replay, start = texts(1, 60), texts(3, 20, seed=1), model()
    states, drift = States.of(start, replay), {}
    batch = Batch.of(replay, "cpu")
    learned = batch.targets >= 0
    for strength in (0.0, 3.0):
        tuned, feed = copy.deepcopy(start), Slots(task, replay, 3, 8, Run())
        margin = MarginReplay(feed, states, strength)
        train_lm(tuned, feed, Options(rate=3e-3, batch=8, faster=1.0), beside=margin, weigh=margin.weigh)
        hidden = tuned(batch.inputs, batch.documents)[learned].detach()
        found = threshold_margins(hidden, torch.from_numpy(states.labels)[learned], states.low, states.high)
        drift[strength] = float(found.mean())
    assert drift[3.0] < 0.8 * drift[0.0], drift
