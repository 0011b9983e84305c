"""The tournament's page: whatever a label or a reason says, it is text."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tests.engine.toys import Steps
from tests.report.test_page import ATTRIBUTES, ELEMENTS, read, read_rows, tables

from tilth.core import Plan, Run, World
from tilth.engine.tournament import Entry, Tournament, tournament
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.report.page import POLICY
from tilth.report.tournament import CONTENTS, render_tournament

PROBE = PlantedMixture()


@pytest.fixture(scope="module")
def world() -> World:
    return PROBE.build(800, Run())


def held(world: World, folder: Path, hostile: list[str], halving: bool = False) -> Tournament:
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)

    def shares(name: str, **given: float) -> Entry:
        return Entry(name, partial(PROBE.planned, start, given), ({"use": hostile[0], hostile[1]: hostile[2]},))

    def fails() -> Plan:
        raise ValueError(hostile[6])

    entries = {hostile[0]: shares("best", **BEST), hostile[1]: shares("equal", a=1, b=1, c=1, d=1)}
    entries |= {f"c{i}": shares(f"c{i}", a=0.1, d=0.1 * i) for i in range(1, 5)}
    entries[hostile[2]] = Entry("fails", fails)
    rivals = {hostile[3]: shares("rival", a=1, d=2)}
    return tournament(
        Steps(), entries, rivals, world.pool, world.goal, folder, seeds=2, halving=halving, missing={"x": hostile[7]}
    )


@pytest.mark.parametrize("halving", [False, True])
def test_labels_and_reasons_are_text_and_nothing_else(
    world: World, tmp_path: Path, hostile: list[str], halving: bool
) -> None:
    made = held(world, tmp_path, hostile, halving)
    page = render_tournament(made, [{"use": hostile[4], "where": hostile[6]}])
    reader = read(page)
    assert set(reader.elements) <= ELEMENTS
    assert {name for _, name, _ in reader.attributes} <= ATTRIBUTES
    assert not reader.odd
    assert f'content="{POLICY}"'.replace("'", "&#x27;") in page
    for _, name, value in reader.attributes:
        if name == "href":
            assert value.removeprefix("#") in CONTENTS
        if name in ("class", "id"):
            assert re.fullmatch(r"[a-z0-9 -]+", value)
    text = "".join(reader.texts)
    for planted in (hostile[0], hostile[1], hostile[2], hostile[3], f"ValueError: {hostile[6]}", hostile[7][:40]):
        assert planted in text, planted
    assert render_tournament(held(world, tmp_path, hostile, halving), []) != page  # what is shared is shown


def test_the_page_has_the_numbers_of_the_table(world: World, tmp_path: Path, hostile: list[str]) -> None:
    made = held(world, tmp_path, hostile, halving=True)
    read = read_rows(render_tournament(made, []))
    heads, *rows = tables(read, "All plans, best first")
    assert heads[:3] == ["policy", "loss (bits per byte)", "gain"]
    cost_heads, *costs = tables(read, "What they read, and what they cost")
    assert cost_heads[:4] == ["policy", "records", "amount read", "seconds to plan"]
    for told, cost, row in zip(rows, costs, made.table(), strict=True):
        assert cost[0] == told[0]
        assert told[1] == f"{row.get('loss', row.get('loss_there')):.4f}"
        assert cost[1:3] == [f"{row['records']:,}", f"{row['amount']:,}"]
        assert told[2] == (f"{row['effect']:+.4f}" if "effect" in row else "")
    assert sum("out in round" in row[5] for row in rows) == 4
    gone = tables(read_rows(render_tournament(made, [])), "Not tried, with the reason")
    assert {row[0] for row in gone[1:]} == {"x", hostile[2]}


def test_no_p_value_is_shown_as_nothing(world: World, tmp_path: Path, hostile: list[str]) -> None:
    made = held(world, tmp_path, hostile)
    for p, told in ((4e-4, "< 0.001"), (0.0016, "0.002"), (0.25, "0.250")):
        read = read_rows(render_tournament(replace(made, adjusted=dict.fromkeys(made.adjusted, p)), []))
        _, *rows = tables(read, "All plans, best first")
        assert {row[4] for row in rows} == {told, ""}


def test_a_tournament_nobody_survives_has_a_page(world: World, tmp_path: Path) -> None:
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)

    def fails() -> Plan:
        raise ValueError("no")

    rival = Entry("rival", partial(PROBE.planned, start, {"a": 1.0}))
    made = tournament(Steps(), {"a": Entry("a", fails)}, {"rival": rival}, world.pool, world.goal, tmp_path, seeds=2)
    page = render_tournament(made, [])
    assert "NO RESULT" in page
    assert "ValueError: no" in page
