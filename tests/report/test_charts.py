from __future__ import annotations

import re

import numpy as np

from tilth.report.charts import Interval, bars, bins, forest, histograms, lines, shares


def numbers(pattern: str, picture: str) -> list[float]:
    return [float(v) for v in re.findall(pattern, picture)]


def test_bars_are_as_long_as_their_values() -> None:
    picture = bars("Mixture", {"a": (0.5, 0.25), "b": (0.0, float("nan"))}, ["asked", "got"], "%")
    assert numbers(r'<rect x="0" y="[\d.]+" width="([\d.]+)%', picture) == [78.0, 39.0, 0.0]
    assert "50.0%" in picture
    assert picture.count('class="value"') == 3  # the missing value has neither bar nor number


def test_bars_of_nothing() -> None:
    assert "<svg" in bars("Nothing", {}, ["asked", "got"])
    assert "nan" not in bars("Nothing", {"a": (0.0, 0.0)}, ["asked", "got"])


def test_a_forest_puts_zero_and_intervals_on_one_scale() -> None:
    rows = [Interval("x", 1.0, 0.5, 1.5, "better"), Interval("y", -1.0, -3.0, 1.0, "no difference")]
    picture = forest("Effects", rows, "bits", "left", "right")
    (zero,) = numbers(r'x1="([\d.]+)%"[^>]*class="zero"', picture)
    spans = re.findall(r'x1="([\d.]+)%" x2="([\d.]+)%"[^>]*class="span (\w+)"', picture)
    (x1, x2, x_call), (y1, y2, y_call) = [s for s in spans if s[0] != s[1]]
    assert zero < float(x1) < float(x2) <= 100
    assert 0 <= float(y1) < zero < float(y2)
    assert (x_call, y_call) == ("good", "even")
    assert round((float(x2) - float(x1)) * 4, 1) == round(float(y2) - float(y1), 1) * 1.0  # 1 against 4 units


def test_lines_lie_where_their_numbers_are() -> None:
    at = np.array([10.0, 100.0, 1000.0])
    series = {"<b>": (at, np.array([3.0, 2.0, 1.0])), "plan": (at, np.array([3.0, 1.0, 0.0]))}
    picture = lines("Loss", series, "tokens", "bits", "plan", "<b>")
    drawn = dict(re.findall(r'd="([^"]+)" class="line (\w+)"', picture))
    assert {v: k for k, v in drawn.items()} == {
        "orange": "M0.0 0.0L500.0 333.3L1000.0 666.7",
        "blue": "M0.0 0.0L500.0 666.7L1000.0 1000.0",
    }
    assert "<b>" not in picture
    assert "1,000 tokens" in picture
    flat = lines("Loss", {"plan": (at[:1], np.array([1.0]))}, "tokens", "bits", "plan", "none")
    assert "nan" not in flat


def test_bins_hold_every_value_and_fold_outliers_in() -> None:
    values = np.append(np.random.default_rng(0).normal(0, 1, 5000), [1e9, -1e9])
    found = bins(values)
    assert found.count(values).sum() == 5002
    assert found.ends[1] < 10


def test_bins_of_few_whole_numbers_are_those_numbers() -> None:
    values = np.array([0.0, 0, 1, 3, 3, 3])
    found = bins(values)
    assert found.count(values).tolist() == [2, 1, 0, 3]
    assert found.ends == (0, 3)


def test_a_rare_value_is_in_the_picture() -> None:
    values = np.append(np.zeros(5000), 0.7)
    assert bins(values).ends == (0, 0.7)
    heights = numbers(r"V([\d.]+)h1", histograms("h", {"all": values}))
    assert heights[-1] == 18.0  # one pixel of 19


def test_a_long_tail_gets_a_logarithmic_scale() -> None:
    values = np.floor(np.exp(np.random.default_rng(0).normal(5, 2, 3000)))
    found = bins(values)
    assert found.log
    assert found.count(values).max() < 1000  # on a linear scale nearly all would share the first bin
    assert found.ends[1] > 5000


def test_pictures_of_missing_and_constant_values() -> None:
    nothing = np.full(3, np.nan)
    for picture in (
        histograms("h", {"all": nothing}),
        histograms("h", {"all": np.full(4, 2.5), "none": np.zeros(0)}),
        histograms("h", {"all": np.array([np.inf, 1.0, 2.0])}),
        shares("s", {"all": float("nan"), "a": 0.25}),
    ):
        assert "nan%" not in picture
        assert "inf" not in re.sub(r"<[^>]*>", "", picture)
        assert picture.startswith("<svg")
    assert 'width="13%"' in shares("s", {"a": 0.25})
