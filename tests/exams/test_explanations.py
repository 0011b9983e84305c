from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tilth.core import Pool, Run, World
from tilth.core.errors import DataError
from tilth.probes.explanations import Explanations, relevant, solve


def rows(pool: Pool) -> list[dict[str, Any]]:
    columns = [c for c in ("text", "label", "truth", "explanation") if c in pool.schema.names]
    found: list[dict[str, Any]] = pool.table(columns).to_pylist()
    return found


def numbers(row: dict[str, Any]) -> list[int]:
    return [int(n) for n in row["text"].split()]


@pytest.fixture(scope="module")
def world() -> World:
    return Explanations().build(2000, Run(seed=4))


def test_every_label_follows_from_the_rule(world: World) -> None:
    assert [world.pool.count, world.more["test"].count] == [2000, 800]
    for pool in (world.pool, world.more["test"]):
        for row in rows(pool):
            found, truth = numbers(row), row["truth"]
            times = Counter(found)
            assert len(found) == 20
            assert found[0] == truth["task"]
            assert found[1] == truth["indicator"] == truth["pair"]
            pairs = [("m", "n"), ("r", "d")]
            one, two = (times[truth[k]] for k in pairs[found[1] - 1])
            other = [times[truth[k]] for k in pairs[2 - found[1]]]
            assert one != two
            assert other[0] != other[1]
            assert row["label"] == str(int(one > two))
            assert len({truth[k] for k in "mnrd"}) == 4
            assert all(3 <= n <= 100 for n in found[2:])
            assert row["label"] == solve(row["text"], tuple(truth[k] for k in "mnrd"))


def test_the_balance_within_each_task(world: World) -> None:
    for pool, each in ((world.pool, 10), (world.more["test"], 4)):
        facts = defaultdict(list)
        hidden = defaultdict(set)
        for row in rows(pool):
            truth, times = row["truth"], Counter(numbers(row))
            other = ("r", "d") if truth["pair"] == 1 else ("m", "n")
            agrees = (times[truth[other[0]]] > times[truth[other[1]]]) == (row["label"] == "1")
            facts[truth["task"]].append((int(row["label"]), truth["pair"] - 1, int(agrees)))
            hidden[truth["task"]].add(tuple(truth[k] for k in "mnrd"))
        assert len(facts) == 200
        assert all(np.sum(found, axis=0).tolist() == [each // 2] * 3 for found in facts.values())
        assert all(len(h) == 1 for h in hidden.values())
        assert len({next(iter(h)) for h in hidden.values()}) == 200
    totals = [[Counter(numbers(r))[r["truth"][k]] for k in "mnrd"] for r in rows(world.pool)]
    pairs = [r["truth"]["pair"] for r in rows(world.pool)]
    more = [sum(t[:2]) > sum(t[2:]) if p == 1 else sum(t[2:]) > sum(t[:2]) for t, p in zip(totals, pairs, strict=True)]
    assert abs(np.mean(more) - 0.5) < 0.05  # the counted pair is as often the smaller one


def test_nothing_leaks_and_nothing_but_the_hidden_numbers_helps(world: World) -> None:
    train, test = rows(world.pool), rows(world.more["test"])
    texts = [r["text"] for r in [*train, *test]]
    assert len(set(texts)) == len(texts)
    assert {r["truth"]["task"] for r in train} == {r["truth"]["task"] for r in test}
    assert "explanation" not in world.more["test"].schema.names

    def bags(records: list[dict[str, Any]]) -> Any:
        return np.array([np.bincount(numbers(r)[2:], minlength=101) for r in records])

    model = LogisticRegression(max_iter=200).fit(bags(train), [r["label"] for r in train])
    assert abs(Explanations().grade(world, model.predict(bags(test)).tolist()) - 0.5) < 0.08
    first = [solve(r["text"].replace(" 2 ", " 1 ", 1), tuple(r["truth"][k] for k in "mnrd")) for r in test]
    assert Explanations().grade(world, first) == pytest.approx(0.75, abs=0.03)  # as if the indicator were always 1


def test_an_explanation_of_another_record_of_the_task_solves_the_test(world: World) -> None:
    train, test = rows(world.pool), rows(world.more["test"])
    texts = [r["text"] for r in train]
    answers = []
    for row in test:
        found = relevant(texts, row["text"])
        assert len(found) == 10
        told = [int(n) for n in train[found[0]]["explanation"].split()]
        assert told[0] == row["truth"]["task"]
        answers.append(solve(row["text"], tuple(told[1:])))
    assert Explanations().grade(world, answers) == 1.0
    assert 7 not in relevant(texts, texts[7], itself=7)
    assert len(relevant(texts, texts[7], itself=7)) == 9


@pytest.mark.parametrize("told", ["noisy", "parts", "mirrored", "shifted", "causal", "wrong"])
def test_what_explanations_tell(told: Any) -> None:
    world = Explanations(told=told, noise=2).build(400, Run())
    by_task = defaultdict(list)
    for row in rows(world.pool):
        given = [int(n) for n in row["explanation"].split()]
        hidden = np.array([row["truth"][k] for k in "mnrd"])
        assert given[0] == row["truth"]["task"]
        by_task[given[0]].append((hidden, np.array(given[1:]), row["truth"]["pair"]))
    found = [one for many in by_task.values() for one in many]
    if told == "mirrored":
        assert all((given == 100 - hidden).all() for hidden, given, _ in found)
    elif told == "shifted":
        assert all((given == hidden + 5).all() for hidden, given, _ in found)
    elif told == "causal":
        assert all((given == hidden[2 * pair - 2 : 2 * pair]).all() for hidden, given, pair in found)
    elif told == "wrong":
        assert not any(set(given) & set(hidden) for hidden, given, _ in found)
    elif told == "noisy":
        errors = np.array([given - hidden for hidden, given, _ in found])
        assert set(errors.ravel().tolist()) == {-2, -1, 0, 1, 2}
        assert np.abs(errors.mean(0)).max() < 0.25  # 3.5 standard errors
    else:
        for many in by_task.values():
            assert sorted({tuple((given > 0).tolist()) for _, given, _ in many}) == [
                (False, True, True, False),
                (True, False, False, True),
            ]
            assert (np.max([given for _, given, _ in many], axis=0) == many[0][0]).all()


def test_switches() -> None:
    plain = Explanations(indicator=False).build(100, Run())
    assert {numbers(r)[1] for r in rows(plain.pool)} == {1}
    assert {r["truth"]["pair"] for r in rows(plain.pool)} == {1}
    blind = Explanations(index=False).build(100, Run())
    assert {numbers(r)[0] for r in rows(blind.pool)} == {1}
    apart = Explanations(disjoint=True).build(100, Run())
    tasks = [{r["truth"]["task"] for r in rows(p)} for p in (apart.pool, apart.more["test"])]
    assert [len(t) for t in tasks] == [10, 10]
    assert not tasks[0] & tasks[1]
    with pytest.raises(DataError, match="one label per test record, 40"):
        Explanations().grade(plain, ["1"])
    with pytest.raises(DataError, match="Raise max_int or per_task"):
        Explanations(max_int=10).build(10_000, Run())
