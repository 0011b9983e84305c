"""The claim's own machinery, on a miniature: who helps is known, and what is measured follows it."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from tilth.claims import albalak2023_flad as claim
from tilth.core import Run

SMALL = claim.Setting(sources=10, seeds=2, steps=10, few=100, texts=200, timed=2)


def test_rows_say_what_was_measured() -> None:
    rows = claim.run(None, SMALL)
    assert len({row["statement"] for row in rows}) == len(rows) == 3 * 3 + 2 * 2 + 5
    assert {row["holds"] for row in rows} <= {"yes", "no", "-"}
    looks = [row for row in rows if "gradients taken" in row["statement"]]
    assert [row["holds"] for row in looks] == ["yes", "yes"]


def test_sources_agree_disagree_or_know_nothing() -> None:
    """A network that learned the target's own texts gets labels right, wrong and by chance."""
    shop = claim.Shop(SMALL, Run(seed=1))
    own = [name for name in shop.names[: claim.HELPFUL]]
    shop.learn(None, {name: 1 / len(own) if name in own else 0.0 for name in shop.names}, 300)
    assert shop.accuracy() > 0.85
    with torch.no_grad():
        right = [float((shop.model(x).argmax(1) == y).float().mean()) for x, y in shop.data.values()]
    assert min(right[:3]) > 0.85
    assert max(right[3:6]) < 0.2
    assert 0.25 < np.mean(right[6:]) < 0.75


def test_the_first_alignment_is_of_cosines() -> None:
    shop = claim.Shop(SMALL, Run(seed=1))
    shares = shop.alignment()
    name = max(shares, key=shares.__getitem__)
    assert abs(sum(shares.values()) - 1) < 1e-9
    aim, mine = shop.head.gradient("few", True, 0), shop.head.gradient(name, False, 0)
    others = [float(F.cosine_similarity(aim, shop.head.gradient(n, False, 0), dim=0)) for n in shop.names]
    assert float(F.cosine_similarity(aim, mine, dim=0)) == max(others)
    assert all((shares[n] < 1e-6) == (c <= 0) for n, c in zip(shop.names, others, strict=True))


def test_the_rows_know_the_truth() -> None:
    ones = np.ones(3)
    right = {"flad_exp3": 0.9 * ones, "flad_ucb1": 0.6 * ones, "flad_ucb1, explore 0.3": 0.7 * ones}
    right |= {"equal": 0.6 * ones, "alignment": 0.85 * ones}
    picks = {"flad_exp3": 0.5 * ones, "flad_ucb1": 0.39 * ones, "flad_ucb1, explore 0.3": 0.4 * ones}
    dearer = {"flad_exp3": (1.05 * ones, ones), "flad_ucb1": (2 * ones, 1.1 * ones)}
    found = {row["statement"]: row["holds"] for row in claim._rows(right, picks, dearer)}
    assert [found[f"{name}: later picks that help"] for name in picks] == ["yes", "no", "yes"]
    assert [found[f"{name}: accuracy less equal shares"] for name in picks] == ["yes", "no", "yes"]
    assert [found[f"{name}: accuracy less shares by the first alignment"] for name in picks] == ["yes", "no", "no"]
    told = [found[f"{n}, ten times the sources over as few: {w}"] for n in dearer for w in
            ("gradients taken at a step", "time of a step")]  # fmt: skip
    assert told == ["yes", "yes", "no", "no"]
