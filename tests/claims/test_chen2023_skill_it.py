"""The claim's own machinery, on a miniature: texts mean what they say, and none is in two parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilth.claims import chen2023_skill_it as claim
from tilth.core import Run

SMALL = claim.Setting(seeds=2, depth=1, width=32, heads=2, batch=8, before=16, steps=8, every=4, points=2, texts=60,
                      graph_steps=2)  # fmt: skip


def test_rows_say_what_was_measured() -> None:
    rows = claim.run(None, SMALL)
    assert len({row["statement"] for row in rows}) == len(rows) == 1 + 3 * 2 + 3 + 4 * 4 + 3 * 3
    assert {row["holds"] for row in rows} <= {"yes", "no", "-"}


@pytest.mark.parametrize(("chains", "skill"), [(1, 3), (2, 0), (2, 1), (2, 3)])
def test_values_follow_the_clauses(chains: int, skill: int) -> None:
    setting = replace(SMALL, variables=4, chains=chains, negations=0.5)
    ids, values = claim.told(setting, 50, skill, "learn", Run().rng("x"))
    end = 12 * chains
    assert ids.shape == (50, end + chains)
    assert values.shape == (50, chains)
    assert 0 < values.mean() < 1
    for row, told in zip(ids.tolist(), values.tolist(), strict=True):
        said = {row[i]: (row[i + 1], row[i + 2]) for i in range(0, end, 3)}
        assert len(said) == 4 * chains
        roots = []
        for asked, value in zip(row[end:], told, strict=True):
            turned, hops = 0, 0
            while said[asked][1] >= claim.LETTER:
                turned ^= said[asked][0] == claim.NOT
                asked, hops = said[asked][1], hops + 1
            assert said[asked][0] == claim.VAL
            assert hops == skill
            assert said[asked][1] - claim.ZERO ^ turned == value
            roots.append(said[asked][1])
        assert len({*roots}) == len(roots)  # so that a value in the text does not tell the answer


def test_as_many_negations_as_asked_for() -> None:
    ids, _ = claim.told(replace(SMALL, negations=0.2), 4000, 1, "learn", Run().rng("x"))
    assert (ids == claim.NOT).mean(0).sum() / 4 == pytest.approx(0.2, abs=0.01)


def test_no_text_is_in_two_parts() -> None:
    # 24 ways to name, 2 to give the first values and 4 to say not; which chain is the first makes no difference.
    tiny = replace(SMALL, variables=2, letters=4, negations=0.5)

    def texts(part: str) -> set[frozenset[tuple[int, ...]]]:
        ids, _ = claim.told(tiny, 2000, 0, part, Run().rng(part))
        return {frozenset(tuple(row[i : i + 3]) for i in range(0, 12, 3)) for row in ids.tolist()}

    learn, valid, test = (texts(part) for part in claim.PARTS)
    assert len(learn) + len(valid) + len(test) == 24 * 4
    assert min(len(valid), len(test)) > 3
    assert not learn & (valid | test)
    assert not valid & test


def test_only_the_answers_are_learned() -> None:
    made = claim.windows_of(SMALL, 40, "test", Run())
    assert [*made] == ["skill1", "skill2", "skill3"]
    for held in made.values():
        assert (held.targets[:, :-2] == -1).all()
        assert set(held.targets[:, -2:].ravel().tolist()) == {claim.ZERO, claim.ZERO + 1}
        assert (held.tokens == 2).all()


def test_look_ups_tell_no_chain() -> None:
    held = claim.lookups(50, 6, 3, Run().rng("x"))
    assert held.inputs.shape == (50, 14)
    assert not (held.inputs == claim.NOT).any()
    for row, wanted in zip(held.inputs.tolist(), held.targets.tolist(), strict=True):
        said = {row[i]: row[i + 2] for i in range(0, 9, 3)}
        assert [row[i + 1] for i in range(0, 9, 3)] == [claim.VAL] * 3
        assert [said[row[i]] for i in (9, 11, 13)] == [wanted[i] for i in (9, 11, 13)]  # one step, never two
        assert sum(t >= 0 for t in wanted) == 3


def test_the_turned_graph_has_no_planted_edge() -> None:
    edges, other = (np.array(g(SMALL)) - np.eye(3) for g in (claim.planted, claim.turned))
    assert edges.tolist() == [[0, 0.5, 0.5], [0, 0, 0.5], [0, 0, 0]]
    assert other.sum() == edges.sum()
    assert not (edges * other).any()


def test_the_rows_know_the_truth() -> None:
    path = np.full((2, 3, 3), 0.6)
    paths = {"stratified": path, "learned": path + 0.15, "turned": path + 0.04, "planted": path + 0.05}
    shares = {arm: np.full((2, 1 if arm == "stratified" else 2, 3), 1 / 3) for arm in paths}
    graph, knows = np.triu(np.ones((3, 3))), np.ones(2)
    told = [row["holds"] for row in claim._rows(SMALL, graph, paths, shares, knows)[:7]]
    assert told == ["yes", "yes", "yes", "no", "no", "no", "no"]
    paths["turned"] = path
    told = [row["holds"] for row in claim._rows(SMALL, np.ones((3, 3)).T, paths, shares, knows)[:5]]
    assert told == ["yes", "yes", "yes", "yes", "yes"]
    told = [row["holds"] for row in claim._rows(SMALL, np.tril(np.ones((3, 3))), paths, shares, knows)[:1]]
    assert told == ["no"]
