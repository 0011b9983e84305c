"""The claim about going on with a domain in miniature: what is read, who moves, and how statements judge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import maatouk2024_tele_llms as claim

TOY = claim.Scale(vocab=320, depth=2, small=1, context=32, tokens=3000, later=1600, held=5)
GENERAL = [f"the old farmer waits for rain and field {i} is warm" for i in range(60)]
DOMAIN = [f"def part_{i}(x): return x + {i} # standard" for i in range(60)]


@pytest.fixture(scope="module")
def world() -> claim.World:
    return claim.World([GENERAL, DOMAIN], Run(), TOY)


def test_arms_read_equally_much_and_replay_its_share(world: claim.World) -> None:
    domain, general = set(world.domain[1].tolist()), set(world.general[1].tolist())
    only = domain - general, general - domain
    assert all(only)
    read = {share: world.reading(share) for share in (0.0, 0.1, 0.2)}
    for share, data in read.items():
        assert data.inputs.shape == (50, 32)
        again = np.isin(data.inputs, [*only[1]]).any(1)
        assert again.sum() == round(share * 50)
        assert not (again & np.isin(data.inputs, [*only[0]]).any(1)).any(), "a window is of one kind"
        place = np.flatnonzero(again)
        assert not share or place[-1] - place[0] > 10, "shuffled"
    assert {*map(bytes, read[0.1].inputs)} & {*map(bytes, read[0.0].inputs)}


def test_adapters_move_nothing_but_the_layers_a_little(world: claim.World) -> None:
    start = world.started(2)
    was = start.state_dict()
    for adapters, rank in ((None, 64), (0.01, TOY.rank)):
        now = world.continued(start, 0.0, adapters).state_dict()
        assert now.keys() == was.keys()
        moved = now["blocks.0.inward.weight"] - was["blocks.0.inward.weight"]
        size = np.linalg.svd(moved.double().numpy(), compute_uv=False)
        assert (size > 1e-3 * size[0]).sum() == rank
        same = bool((now["embedding.weight"] == was["embedding.weight"]).all())
        assert same == (adapters is not None)
    assert world.losses(world.continued(start, 0.0))[1] < world.losses(start)[1]


def test_measured(world: claim.World) -> None:
    found = claim.measured(world, 0.003)
    assert len(found) == 7
    assert all(np.isfinite(v) for arm in found.values() for v in arm.values())
    assert claim.chosen(world) in claim.RATES
    with pytest.raises(UsageError, match="needs published data"):
        claim.run(Path("nowhere"))


def test_statements_hold_where_they_should() -> None:
    def arm(fall: float, rise: float) -> dict[str, float]:
        return {"fall of the domain's loss": fall, "rise of the general loss": rise}

    def holds(fall: float, rise: float, alone: float, low: float, kept: float, small: float) -> list[str]:
        found = {claim._arm("full", 0.0): arm(fall, alone), claim._arm("low-rank", 0.0): arm(low, kept)}
        found["a smaller model, " + claim._arm("full", 0.1)] = arm(small, rise)
        for share in (0.1, 0.2):
            found |= {claim._arm("full", share): arm(fall, rise), claim._arm("low-rank", share): arm(low, rise)}
        return [row["holds"] for row in claim.statements([found] * 3, 0.001) if row["holds"] != "-"]

    assert holds(0.3, 0.02, 0.1, 0.2, 0.05, 0.35) == ["yes"] * 12
    assert holds(0.1, 0.04, 0.02, 0.15, 0.03, 0.05) == ["no"] * 12
