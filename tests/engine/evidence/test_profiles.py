from __future__ import annotations

import numpy as np
import pytest

from tilth.engine.evidence.profiles import performance_profiles, time_to_target

INF = np.inf


def test_scores_in_closed_form() -> None:
    times = {
        "fastest": {"a": 10.0, "b": 4.0, "c": 1.0},
        "twice": {"a": 20.0, "b": 8.0, "c": 2.0},
        "mixed": {"a": 10.0, "b": 12.0, "c": INF},
        "never": {"a": INF, "b": INF, "c": INF},
        "too slow": {"a": 41.0, "b": 17.0, "c": 4.1},
    }
    made = performance_profiles(times)
    assert made.scores == pytest.approx(
        {"fastest": 1.0, "twice": 2 / 3, "mixed": (1 + 1 / 3 + 0) / 3, "never": 0.0, "too slow": 0.0}
    )
    # The area under the staircase, by brute force.
    grid = np.linspace(1, 4, 30_001)
    for name, score in made.scores.items():
        assert np.mean([made.rho(name, tau) for tau in grid]) == pytest.approx(score, abs=1e-3)
    assert made.rho("mixed", 1.0) == pytest.approx(1 / 3)


def test_units_do_not_matter_and_equal_methods_tie() -> None:
    rng = np.random.default_rng(0)
    base = {f"m{i}": {g: float(t) for g, t in zip("abc", rng.uniform(1, 5, 3), strict=True)} for i in range(4)}
    base["copy"] = dict(base["m0"])
    scaled = {m: {"a": row["a"] * 60, "b": row["b"] / 7, "c": row["c"]} for m, row in base.items()}
    one, two = performance_profiles(base), performance_profiles(scaled)
    assert one.scores == pytest.approx(two.scores)
    assert one.scores["copy"] == one.scores["m0"]


def test_a_missed_variant_fails_its_goal() -> None:
    times = {"robust": {"a": 2.0, "a*": 2.0}, "brittle": {"a": 1.0, "a*": INF}, "slow": {"a": 2.0, "a*": 9.0}}
    made = performance_profiles(times, variants={"a": ["a*"]})
    assert made.scores == pytest.approx({"robust": 2 / 3, "brittle": 0.0, "slow": 0.0})
    assert [*made.ratios["robust"]] == ["a"]


def test_half_the_tokens_on_three_goals_scores_strictly_higher() -> None:
    tokens = np.geomspace(100, 10_000, 400)
    times: dict[str, dict[str, float]] = {"slow": {}, "fast": {}}
    for goal, (floor, rate) in {"a": (1.0, 0.3), "b": (2.0, 0.5), "c": (0.5, 0.2)}.items():
        target = floor + 5 * tokens[-1] ** -rate
        for name, speed in {"slow": 1.0, "fast": 2.0}.items():
            times[name][goal] = time_to_target(tokens, floor + 5 * (speed * tokens) ** -rate, target + 1e-12)
    made = performance_profiles(times)
    assert made.scores["fast"] == 1.0
    assert made.scores["slow"] == pytest.approx(2 / 3, abs=0.02)
    assert time_to_target(tokens, np.full(400, 9.0), 1.0) == INF


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="same goals"):
        performance_profiles({"a": {"x": 1.0}, "b": {"y": 1.0}})
    with pytest.raises(ValueError, match="positive"):
        performance_profiles({"a": {"x": 0.0}})
    with pytest.raises(ValueError, match="limit"):
        performance_profiles({"a": {"x": 1.0}}, limit=1.0)
    with pytest.raises(ValueError, match="same goals"):
        performance_profiles({})
