"""The claim's own machinery, on a miniature: chains mean what they say, and none is in two parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilth.claims import chen2023_skill_it as claim
from tilth.core import Run

SMALL = claim.Setting(variables=3, letters=5, seeds=2, depth=1, width=32, heads=2, batch=8, steps=8, every=4, points=2,
                      texts=60, graph_steps=2)  # fmt: skip


def test_rows_say_what_was_measured() -> None:
    rows = claim.run(None, SMALL)
    assert len({row["statement"] for row in rows}) == len(rows) == 1 + 3 + 2 + 4 * 4
    assert {row["holds"] for row in rows} <= {"yes", "no", "-"}


@pytest.mark.parametrize("skill", range(4))
def test_values_follow_the_clauses(skill: int) -> None:
    setting = replace(SMALL, variables=4)
    ids, values = claim.told(setting, 50, skill, "learn", Run().rng("x"))
    assert ids.shape == (50, 13)
    assert 0 < values.mean() < 1
    for row, value in zip(ids.tolist(), values.tolist(), strict=True):
        said = {row[i]: (row[i + 1], row[i + 2]) for i in range(0, 12, 3)}
        asked, turned, hops = row[-1], 0, 0
        while said[asked][1] >= claim.LETTER:
            turned ^= said[asked][0] == claim.NOT
            asked, hops = said[asked][1], hops + 1
        assert hops == skill
        assert said[asked][1] - claim.ZERO ^ turned == value


def test_no_chain_is_in_two_parts() -> None:
    def chains(part: str) -> set[frozenset[tuple[int, ...]]]:
        ids, _ = claim.told(SMALL, 3000, 0, part, Run().rng(part))
        return {frozenset(tuple(row[i : i + 3]) for i in range(0, 9, 3)) for row in ids.tolist()}

    learn, valid, test = (chains(part) for part in claim.PARTS)
    assert len(learn) > 300
    assert min(len(valid), len(test)) > 20
    assert not learn & (valid | test)
    assert not valid & test


def test_only_the_answer_is_learned() -> None:
    made = claim.windows_of(SMALL, 40, "test", Run())
    assert [*made] == ["skill1", "skill2", "skill3"]
    for held in made.values():
        assert (held.targets[:, :-1] == -1).all()
        assert set(held.targets[:, -1].tolist()) == {claim.ZERO, claim.ZERO + 1}
        assert (held.tokens == 1).all()


def test_the_rows_know_the_truth() -> None:
    path = np.full((2, 3, 3), 0.6)
    paths = {"stratified": path, "learned": path + 0.15, "planted": path + 0.05, "empty": path + 0.04}
    graph = np.triu(np.ones((3, 3)))
    told = [row["holds"] for row in claim._rows(SMALL, graph, paths)[:4]]
    assert told == ["yes", "yes", "no", "no"]
    told = [row["holds"] for row in claim._rows(SMALL, np.ones((3, 3)), {**paths, "empty": path})[:4]]
    assert told == ["no", "yes", "no", "yes"]
