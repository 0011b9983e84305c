"""The simulator of training: gradients, roll-outs and influence against what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run
from tilth.models.gptfluence import Curves, Network, Simulator, fit


def world(runs: int = 10, steps: int = 30, order: int = 1) -> tuple[Curves, np.ndarray, np.ndarray]:
    """Losses that fall towards a floor, the faster the better a batch's records fit an item."""
    rng = Run().rng("world")
    records, items = rng.normal(size=(80, 5)), rng.normal(size=(7, 5))
    batches = rng.integers(0, 80, (runs, steps, 4))
    losses = np.full((runs, steps + 1, 7), 2.0)
    for t in range(steps):
        push = records[batches[:, t]].mean(1) @ items.T
        before = losses[:, max(0, t - order + 1)]
        losses[:, t + 1] = losses[:, t] - 0.03 * before - 0.02 * push
    return Curves(batches, losses), records, items


def random(order: int, d: int = 5) -> Simulator:
    rng = Run().rng("networks")
    ours, theirs = (
        Network(rng.normal(size=(d, 6)), rng.normal(size=6), rng.normal(size=(6, 3 * (order + 1))) * 0.05, order + 1)
        for _ in range(2)
    )
    return Simulator(ours, theirs, order, 0.3)


@pytest.mark.parametrize("order", [1, 2])
def test_unseen_runs_are_rolled_out_better_than_by_no_change_and_by_the_mean_curve(order: int) -> None:
    curves, records, items = world(order=order)
    seen = Curves(curves.batches[:7], curves.losses[:7])
    found = fit(seen, records, items, Run().rng("fit"), order=order)
    truth = curves.losses[7:]
    told = found.roll_out(curves.batches[7:], truth[:, :1], records, items)
    error = ((told - truth) ** 2).mean()
    assert error < 0.1 * ((truth[:, :1] - truth) ** 2).mean()
    assert error < 0.5 * ((seen.losses.mean(0) - truth) ** 2).mean()
    blind = found.roll_out(curves.batches[7:], truth[:, :1], Run().rng("dealt").permutation(records), items)
    assert error < 0.5 * ((blind - truth) ** 2).mean()  # who is in a batch decides


def test_a_roll_out_is_the_recurrence() -> None:
    curves, records, items = world(runs=2, steps=4)
    simulator = random(2)
    factors = simulator.factors(records, items)
    told = simulator.roll_out(curves.batches, curves.losses[:, :1], records, items)
    y = [curves.losses[1, 0]]
    for t in range(4):
        a1, a2, b = (factors[curves.batches[1, t]].mean(0)[:, j] for j in range(3))
        y.append((1 + a1) * y[-1] + a2 * y[max(0, t - 1)] + b)
    assert told[1] == pytest.approx(np.stack(y))


def test_influence_is_the_slope_of_the_simulated_final_loss() -> None:
    curves, records, items = world(runs=3, steps=6)
    simulator = random(1)
    told = simulator.roll_out(curves.batches, curves.losses[:, :1], records, items)
    simulated = Curves(curves.batches, told)
    found = simulator.influence(simulated, records, items, records[:2])
    added, nudge = np.zeros((2, 7)), 1e-6
    factors = simulator.factors(records, items)
    for run in range(3):
        for at in range(6):
            for one in range(2):
                y = told[run, 0]
                for t in range(6):
                    f = factors[curves.batches[run, t]].mean(0) + nudge * (t == at) * factors[one]
                    y = (1 + f[:, 0]) * y + f[:, 1]
                added[one] += (y - told[run, -1]) / nudge / 18
    assert found == pytest.approx(added, rel=1e-3, abs=1e-6)


def test_networks_gradients_are_slopes() -> None:
    rng = Run().rng("slopes")
    net = random(1).ours
    x, d = rng.normal(size=(4, 5)), rng.normal(size=(4, 2, 3))
    _, hidden = net(x)
    grads = net.back(x, hidden, d)
    weights = [net.first, net.bias, net.second]
    for w, g in zip(weights, grads, strict=True):
        place = tuple(0 for _ in w.shape)
        before = float((net(x)[0] * d).sum())
        w[place] += 1e-6
        assert (float((net(x)[0] * d).sum()) - before) / 1e-6 == pytest.approx(g[place], rel=1e-3, abs=1e-5)
        w[place] -= 1e-6
