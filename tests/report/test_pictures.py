"""Pictures of signals: as many points as they say, where the numbers are, and no text from data that is not escaped."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr
from tests.report.conftest import hostile_pool, struct

from tilth.core import TablePool
from tilth.core.plan import groups
from tilth.core.pool import Pool
from tilth.report import pictures, standalone
from tilth.report.charts import histograms, ticks
from tilth.report.markup import shown
from tilth.report.measured import distribution
from tilth.report.pictures import Picture, curves_of, data_map, spearman
from tilth.report.plots import matrix
from tilth.signals._by_id import ById

SVG = "{http://www.w3.org/2000/svg}"
ACROSS, UPWARD = (11.0, 98.0), (50.0, 400.0)  # percent between which a map is drawn; its top and height in pixels


def parsed(picture: Picture) -> ET.Element:
    return ET.fromstring(standalone.svg([(picture.title, picture.figure)]))


def marks(root: ET.Element, hovered: bool = True) -> list[ET.Element]:
    """The points of a picture; those of its legend say nothing when one points at them."""
    found = [e for e in root.iter() if (e.get("class") or "").startswith("mark")]
    return [e for e in found if (e.find(f"{SVG}title") is not None) == hovered]


def large(count: int = 5000) -> TablePool:
    rng = np.random.default_rng(0)
    values = {name: pa.array(rng.random(count) * top) for name, top in (("confidence", 1), ("variability", 0.5))}
    return TablePool(pa.table({"text": [f"text {i}" for i in range(count)], "cartography": struct(**values)}))


def test_a_map_has_a_point_for_each_record_where_its_numbers_are() -> None:
    pool = hostile_pool()
    found = data_map(pool, "learned")
    assert found.told == {"drawn": 110, "of": 110, "colour": "region"}
    column = [v for v in pool.column("learned").to_pylist() if v["confidence"] is not None]
    points = marks(parsed(found))
    assert len(points) == len(column) == 110
    widest = max(v["variability"] for v in column) * 1.03
    shapes = {"easy": "mark dot blue", "ambiguous": "mark square orange", "hard": "mark ring rose"}
    for point, value in zip(points, column, strict=True):
        square = point.tag == f"{SVG}rect"
        x, y = float((point.get("x") or point.get("cx") or "")[:-1]), float(point.get("y") or point.get("cy") or "")
        assert x == pytest.approx(ACROSS[0] + (ACROSS[1] - ACROSS[0]) * value["variability"] / widest, abs=0.01)
        up = UPWARD[0] + UPWARD[1] * (1.02 - value["confidence"]) / 1.04
        assert y + 3 * square == pytest.approx(up, abs=0.11)
        assert point.get("class") == shapes[value["region"]]
        assert square == (value["region"] == "ambiguous")


def test_pointing_at_a_record_shows_its_id_and_how_its_text_begins() -> None:
    pool = hostile_pool()
    said = [point.findtext(f"{SVG}title") or "" for point in marks(parsed(data_map(pool, "learned")))]
    rows = [r for r in pool.table(["id", "source", "text", "learned"]).to_pylist() if r["learned"]["region"]]
    for text, row in zip(said, rows, strict=True):
        assert text.startswith(f"{shown(row['id'], 80)}\n{shown(row['source'], 80)}\nconfidence ")
        assert text.endswith(f"region {row['learned']['region']}\n{shown(row['text'], 120)}")
    assert max(len(r["text"]) for r in rows) > 120  # so that a text was cut


def test_text_of_data_is_escaped_everywhere() -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    count = 40
    table = pa.table(
        {
            "id": [f"{evil}{i}" for i in range(count)],
            "text": [evil] * count,
            "label": [evil if i % 2 else 'x" onload="y' for i in range(count)],
            "source": [f"{evil} {i % 2}" for i in range(count)],
            evil: struct(
                confidence=pa.array(np.linspace(0, 1, count)),
                variability=pa.array(np.linspace(0.5, 0, count)),
                region=pa.array([evil] * count),
            ),
        }
    )
    pool = TablePool(table, "labeled")
    curves = {"right": {"all": np.full((2, 3), 0.5)}}
    found = [
        data_map(pool, evil),
        distribution(pool, evil, "confidence", groups(pool)),
        pictures.correlations(pool, [f"{evil}.confidence", f"{evil}.variability"]),
        *curves_of(evil, ById(np.zeros(0, np.uint64), {}, curves)),
        Picture(evil, matrix(evil, [evil, "b"], np.eye(2), [evil])),
    ]
    figures = [(p.title, p.figure) for p in found if p]
    assert len(figures) == 5
    for page in (standalone.svg(figures), standalone.html_page("tilth plot", evil, figures)):
        assert "<img" not in page
        assert "</script" not in page
        assert 'onload="y' not in page
        assert page.count("&lt;/script&gt;&lt;img") > 4 * count
        assert not re.search(r"(?:href|src)=|url\(|@import", re.sub("src=x", "", page))
    root = ET.fromstring(standalone.svg(figures))
    assert {e.tag.removeprefix(SVG) for e in root.iter()} <= {
        "svg", "title", "desc", "text", "style", "rect", "circle", "line", "path",
    }  # fmt: skip


def test_a_variable_in_data_is_not_a_colour() -> None:
    title = "var(--page) and </style>"
    document = standalone.svg([(title, matrix(title, [title, "b"], np.eye(2), []))])
    for dark in (False, True):
        written = standalone.flat(document, dark)
        assert "var(--page) and &lt;/style&gt;" in written
        style = written[written.index("<style>") : written.index("</style>")]
        assert "var(" not in style
        assert "@media" not in style
        assert style.count("{") == style.count("}") > 20
        assert ("fill: #14181d" in style) == dark


def test_a_large_pool_is_sampled_at_random_and_says_so() -> None:
    pool = large()
    found, again = (data_map(pool, "cartography") for _ in range(2))
    assert found == again
    assert found.told["drawn"] == 2000
    assert len(marks(parsed(found))) == 2000
    assert "2,000 of 5,000 mapped records, drawn at random" in "".join(parsed(found).itertext())
    rows = pictures.sample(pool, 2000)
    assert (np.diff(rows) > 0).all()
    assert abs(rows.mean() - 2500) < 4 * 5000 / np.sqrt(12 * 2000)
    order = np.random.default_rng(1).permutation(5000)
    shuffled = TablePool(pool.table(pool.schema.names).take(pa.array(order)), fragment=700)
    ids = [set(p.take(pictures.sample(p, 2000), ["id"]).column(0).to_pylist()) for p in (pool, shuffled)]
    assert ids[0] == ids[1]  # it is a matter of who the records are, not of where they stand


def test_a_map_without_region_or_by_correctness() -> None:
    plain = marks(parsed(data_map(large(50), "cartography")))
    assert {p.get("class") for p in plain} == {"mark dot grey"}
    fifths = [0.0, 0.2, 0.21, 0.5, 0.8, 1.0]
    values = struct(confidence=pa.array(fifths), variability=pa.array(fifths), correctness=pa.array(fifths))
    pool = TablePool(pa.table({"text": ["x"] * 6, "map": values}))
    drawn = parsed(data_map(pool, "map", "correctness"))
    assert [(p.get("class") or "")[-1] for p in marks(drawn)] == ["0", "0", "1", "2", "3", "4"]
    assert "colour: share of passes that were right" in "".join(drawn.itertext())


def test_axes_have_names_and_round_numbers() -> None:
    texts = ["".join(e.itertext()) for e in parsed(data_map(large(), "cartography")).iter(f"{SVG}text")]
    assert "variability: standard deviation over passes" in texts
    assert "confidence: mean probability of the own label or tokens" in texts
    round_ = [t for t in texts if re.fullmatch(r"-?[\d.]+", t)]
    assert round_ == ["0", "0.2", "0.4", "0.6", "0.8", "1", "0", "0.1", "0.2", "0.3", "0.4", "0.5"]  # upward, across
    assert "-0" not in texts
    rng = np.random.default_rng(0)
    for values, scale in (
        (rng.random(500), ["0.2", "0.4", "0.6", "0.8"]),
        (np.exp(rng.normal(5, 2, 500)), ["10", "1,000"]),
    ):
        drawn = ET.fromstring(standalone.svg([("h", histograms("h", {"all": values}, "signal.output"))]))
        texts = ["".join(e.itertext()) for e in drawn.iter(f"{SVG}text")]
        assert [t for t in texts if t in scale] == scale
        assert "500 records" in texts
        assert any(t.startswith("signal.output") for t in texts)
        assert ("signal.output (log scale)" in texts) == (scale[0] == "10")
    assert ticks(0, 0) == [0]
    assert ticks(-1, 1) == [-1, -0.5, 0, 0.5, 1]


def test_ranks_correlate_as_scipy_says() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 5))
    x[:, 1] = np.round(x[:, 0])  # ties
    x[:, 2] -= x[:, 0]
    x[rng.random((300, 5)) < 0.1] = np.nan
    x[:, 3] = np.where(np.isnan(x[:, 3]), np.nan, 7.0)  # constant
    found = spearman(x)
    for i in range(5):
        for j in range(5):
            if 3 in (i, j):
                assert np.isnan(found[i, j])
            else:
                assert found[i, j] == pytest.approx(spearmanr(x[:, i], x[:, j], nan_policy="omit").statistic, abs=1e-12)


def test_the_matrix_holds_those_numbers() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=200)
    values = {"a": a, "b": -a + rng.normal(size=200), "c": rng.normal(size=200), "still": np.zeros(200)}
    one = struct(**{n: pa.array(v) for n, v in values.items()}, flag=pa.array([True] * 200))
    pool = TablePool(pa.table({"text": ["x"] * 200, "one": one, "two": struct(d=pa.array(np.arange(200)))}))
    names = pictures.numeric_outputs(pool)
    assert names == ["one.a", "one.b", "one.c", "one.still", "two.d"]
    found = pictures.correlations(pool, names)
    assert found
    assert found.told["constant"] == ["one.still"]
    told = {(p["a"], p["b"]): p["spearman"] for p in found.told["pairs"]}
    assert len(told) == 6
    assert told["one.a", "one.b"] == pytest.approx(spearmanr(values["a"], values["b"]).statistic)
    assert next(iter(told)) == ("one.a", "one.b")  # the strongest comes first
    root = parsed(found)
    cells = [e for e in root.iter(f"{SVG}rect") if e.find(f"{SVG}title") is not None]
    assert len(cells) == 6
    first = cells[0]
    assert first.findtext(f"{SVG}title") == f"one.b and one.a: {told['one.a', 'one.b']:.4g}"
    assert first.get("class") == "cell warm"
    assert first.get("fill-opacity") == f"{abs(told['one.a', 'one.b']):.2f}"
    texts = "".join(root.itertext())
    assert f"{told['one.a', 'one.b']:.2f}".replace("-0", "−") in texts
    assert "left out: 1 that does not vary" in texts
    assert pictures.correlations(pool, ["one.a", "one.still"]) is None


def test_curves_lie_where_their_numbers_are() -> None:
    series = {"all": np.array([[0.5, 0.7, 0.8], [0.7, 0.7, 1.0]]), "hard": np.array([[0.4, 0.5, 0.6]] * 2)}
    lost = {"all": np.array([[np.nan, 0.1, 0.0]] * 2)}
    state = ById(np.zeros(0, np.uint64), {}, {"right": series, "forgotten": lost})
    right, forgotten = curves_of("cartography", state)
    points = marks(parsed(right))
    assert len(points) == 6
    heights = [float(p.get("cy") or "") for p in points]
    low, high = 0.4, 1.0
    expected = [50 + 220 * (high - v) / (high - low) for v in (0.6, 0.7, 0.9, 0.4, 0.5, 0.6)]
    assert heights == pytest.approx(expected, abs=0.06)
    assert points[0].findtext(f"{SVG}title") == "all, pass 1: 0.6 [0.5, 0.7]"
    texts = ["".join(e.itertext()) for e in parsed(right).iter(f"{SVG}text")]
    assert {"pass", "share of records that are right", "mean and range of 2 trainings", "1", "2", "3"} <= {*texts}
    assert [p.findtext(f"{SVG}title") for p in marks(parsed(forgotten))] == [
        "all, pass 2: 0.1 [0.1, 0.1]",
        "all, pass 3: 0 [0, 0]",
    ]
    nothing = {"forgotten": {"all": np.array([[np.nan]])}}
    assert curves_of("cartography", ById(np.zeros(0, np.uint64), {}, nothing)) == []
    assert curves_of("el2n", object()) == []


def test_long_curves_and_flat_ones_are_drawn() -> None:
    state = ById(np.zeros(0, np.uint64), {}, {"gold": {"all": np.full((1, 90), 0.0), "easy": np.full((1, 90), 0.0)}})
    (found,) = curves_of("cartography", state)
    assert "nan" not in found.figure
    assert len(marks(parsed(found))) == 2 * 18
    assert "one training" in found.figure


def test_clusters_are_no_amounts_and_empty_pools_have_no_pictures() -> None:
    pool = hostile_pool()
    assert "minhash.cluster" not in pictures.numeric_outputs(pool)
    assert {"quality.words", "quality.ratio", "learned.confidence"} <= {*pictures.numeric_outputs(pool)}
    empty: Pool = TablePool(pool.table(pool.schema.names).slice(0, 0))
    assert pictures.correlations(empty, ["quality.words", "quality.ratio"]) is None
    assert data_map(empty, "learned").told["drawn"] == 0
    assert distribution(empty, "quality", "words", groups(empty)) is None
