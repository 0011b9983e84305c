from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import zstandard

from tilth.core import Plan, Run, World
from tilth.core.errors import BadField, BadInput, DataError, UsageError
from tilth.probes import domains
from tilth.probes.domains import LEAK, NGRAM, Domains
from tilth.proofs.ngram import Ngram

SAMPLE = Path(__file__).parents[2] / "examples" / "data"
SHARES = {"health": 0.5, "law": 0.3, "chat": 0.2}


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def grams(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + NGRAM]) for i in range(len(found) - NGRAM + 1)}


def repeated(item: str, record: set[tuple[str, ...]]) -> float:
    """The share of an item's words that lie in a run of words which the record has, too."""
    found = words(item)
    marked = [False] * len(found)
    for i in range(len(found) - NGRAM + 1):
        if tuple(found[i : i + NGRAM]) in record:
            marked[i : i + NGRAM] = [True] * NGRAM
    return sum(marked) / len(found)


@pytest.fixture(scope="module")
def world() -> World:
    return Domains(path=str(SAMPLE), shares=SHARES, items=20).build(1000, Run(seed=3))


def test_the_goal_is_mixed_as_planted_and_the_pool_is_real(world: World) -> None:
    assert world.goal is not None
    raw = {}
    for file in SAMPLE.glob("*.zst"):
        lines = zstandard.ZstdDecompressor().decompressobj().decompress(file.read_bytes()).decode().splitlines()
        raw[file.name.split(".")[0]] = [json.loads(line) for line in lines]
    pool = world.pool.table(["id", "text", "source", "truth"]).to_pylist()
    assert len(pool) == 1000
    assert {r["source"] for r in pool} == raw.keys() - {"target", "holdout"}
    for r in pool:
        source, number = r["id"].split(":")
        assert (source, r["text"]) == (r["source"], raw[source][int(number) - 1]["text"])
        assert r["truth"] == {"best": SHARES.get(source, 0.0), "of": None}
    for side in (world.goal.target, world.goal.holdout):
        assert side.shares("source") == pytest.approx(SHARES)
        for r in side.table(["text", "source", "truth"]).to_pylist():
            source, number = r["truth"]["of"].split(":")
            assert source == r["source"]
            assert r["text"] in raw[source][int(number) - 1]["text"]
            assert 500 <= len(r["text"]) <= 600


def test_nothing_leaks_not_even_a_near_copy(world: World) -> None:
    assert world.goal is not None
    target, holdout = (side.table(["text", "truth"]).to_pylist() for side in (world.goal.target, world.goal.holdout))
    items = [*target, *holdout]
    assert len({r["truth"]["of"] for r in items}) == len(items)
    assert not {r["truth"]["of"] for r in items} & set(world.pool.column("id").to_pylist())
    records = [grams(text) for text in world.pool.column("text").to_pylist()]
    assert max(repeated(r["text"], record) for r in items for record in records) <= LEAK
    for i, one in enumerate(items):
        for two in items[:i]:
            shared = grams(one["text"]) & grams(two["text"])
            assert len(shared) <= LEAK * len(grams(one["text"]))


def test_a_near_copy_in_another_file_is_removed(tmp_path: Path) -> None:
    def text(name: str, i: int) -> str:
        return " ".join(f"{name}{i}w{j}" for j in range(60))

    rows = {name: [text(name, i) for i in range(20)] for name in "ab"}
    copies = [f"quoted {t} and {text('more', i)}" for i, t in enumerate(rows["a"])]  # every record of a, in other words
    for name, texts in {**rows, "copies": copies}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts))
    probe = Domains(path=str(tmp_path), shares={"a": 1.0}, items=6, piece=200)
    world = probe.build(1000, Run())
    assert world.pool.shares("source") == pytest.approx({"a": 8 / 36, "b": 20 / 36, "copies": 8 / 36})


def test_pieces_of_one_document_leave_together(tmp_path: Path) -> None:
    for name in "ab":
        rows = [
            {"id": f"doc{d}#{p}", "text": " ".join(f"{name}{d}p{p}w{j}" for j in range(60))}
            for d in range(10)
            for p in range(3)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    world = Domains(path=str(tmp_path), shares={"a": 0.75, "b": 0.25}, items=4, piece=200).build(1000, Run())
    assert world.pool.shares("source") == pytest.approx({"a": 12 / 36, "b": 24 / 36})


def test_plans_are_graded_by_their_distance(world: World) -> None:
    assert world.goal is not None
    probe = Domains()
    start = Plan.everything(world.pool, world.goal.budget)
    assert probe.grade(world, probe.planned(start, SHARES)) == pytest.approx(1.0, abs=0.02)
    natural = start.mixture()
    distance = sum(abs(natural[name] - SHARES.get(name, 0.0)) for name in natural)
    assert probe.grade(world, start) == pytest.approx(1 - distance / 2)
    assert probe.grade(world, probe.planned(start, {"fiction": 1.0})) == pytest.approx(0.0)
    with pytest.raises(DataError, match="grades a Plan"):
        probe.grade(world, [1.0])


def test_a_proof_prefers_the_planted_mixture_to_natural_shares_and_to_its_opposite(world: World) -> None:
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    other = {name: 1.0 for name in world.pool.shares("source") if name not in SHARES}
    plans = [Domains.planned(start, s) for s in (SHARES, start.mixture(), other)]
    planted, natural, opposite = (Ngram().trial(p, world.pool, world.goal, Run()).mean() for p in plans)
    assert planted < natural < opposite


def test_sizes_scale_and_the_seed_draws_the_sources() -> None:
    probe = Domains(path=str(SAMPLE), items=10)
    assert [probe.build(size, Run()).pool.count for size in (10, 200)] == [10, 200]
    drawn = set()
    for seed in range(5):
        goal = probe.build(10, Run(seed=seed)).goal
        assert goal is not None
        shares = goal.target.shares("source")
        assert sorted(shares.values()) == pytest.approx([0.1, 0.3, 0.6])
        drawn.add(tuple(sorted(shares)))
    assert len(drawn) > 1


def test_what_cannot_be_done_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(domains, "__file__", str(tmp_path / "lib" / "python" / "site" / "tilth" / "domains.py"))
    with pytest.raises(UsageError, match="State path=FOLDER"):
        Domains().build(10, Run())
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"no \.jsonl"):
        Domains(path=str(tmp_path)).build(10, Run())
    with pytest.raises(UsageError, match=r"plants shares of cooking, but .* has chat, "):
        Domains(path=str(SAMPLE), shares={"cooking": 1}).build(10, Run())
    with pytest.raises(DataError, match="needs 2000 pieces of 600 characters from different documents of health"):
        Domains(path=str(SAMPLE), shares={"health": 1}, items=1000).build(10, Run())
    with pytest.raises(BadField, match="positive numbers"):
        Domains(shares={"health": -1})
    (tmp_path / "a.jsonl").write_text('{"text": 1}\n')
    with pytest.raises(BadInput, match="line 1 has no text"):
        Domains(path=str(tmp_path)).build(10, Run())


def test_a_compressed_file_of_several_frames_is_read_to_its_end(tmp_path: Path) -> None:
    halves = ["".join(json.dumps({"text": f"{side} {i}"}) + "\n" for i in range(9)) for side in "ab"]
    packed = b"".join(zstandard.ZstdCompressor().compress(half.encode()) for half in halves)
    (tmp_path / "one.jsonl.zst").write_bytes(packed)
    assert [r.text for r in domains._read(tmp_path)["one"]] == [f"{side} {i}" for side in "ab" for i in range(9)]
