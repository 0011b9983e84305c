"""The shipped sample: free licences, small, many domains, natural duplicates, a goal apart from the pool."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import zstandard

from tilth.signals.audit.pii import find

FOLDER = Path(__file__).parents[1] / "examples" / "data"
GOAL = {"target", "holdout"}
FREE = {"public-domain", "CC0-1.0", "CC-BY-4.0"}
LISTED_TWICE = 3  # papers in the holdout whose other arXiv listing is in the pool; the README tells of them


@cache
def sample() -> dict[str, list[dict[str, Any]]]:
    unpack = zstandard.ZstdDecompressor().decompress
    return {
        file.name.removesuffix(".jsonl.zst"): [json.loads(line) for line in unpack(file.read_bytes()).splitlines()]
        for file in sorted(FOLDER.glob("*.jsonl.zst"))
    }


def pool() -> list[dict[str, Any]]:
    return [row for name, rows in sample().items() if name not in GOAL for row in rows]


def grams(text: str, n: int = 8) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def test_small_and_of_many_domains() -> None:
    names = set(sample()) - GOAL
    assert len(names) >= 6
    size = {name: sum(len(json.dumps(r, ensure_ascii=False).encode()) for r in rows) for name, rows in sample().items()}
    assert sum(size.values()) <= 3_000_000
    assert all(250_000 < size[name] < 420_000 for name in names)
    assert all(len(sample()[name]) >= 150 for name in names)
    assert all(60 <= len(sample()[name]) <= 80 for name in GOAL)


def test_every_record_states_a_free_licence_and_its_origin() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, rows in sample().items():
        assert f"| `{name}.jsonl.zst` | {len(rows)} |" in readme
        for row in rows:
            assert row["license"] in FREE
            assert row["text"].strip()
            assert row["origin"] in readme
        assert len({row["id"] for row in rows}) == len(rows)


def test_no_personal_data_of_a_known_form() -> None:
    assert not [found for rows in sample().values() for row in rows for found in find(row["text"])]


def test_natural_duplicates_are_left_in() -> None:
    twins = {name: len(rows) - len({row["text"] for row in rows}) for name, rows in sample().items()}
    assert twins["science"] >= 10
    assert twins["encyclopedia"] >= 10
    assert sum(twins[name] for name in GOAL) == 0
    for name, least in (("law", 2), ("health", 20)):
        sets = [grams(row["text"], 5) for row in sample()[name]]
        near = [1 for i, a in enumerate(sets) for b in sets[:i] if len(a & b) > 0.5 * len(a | b) and a != b]
        assert len(near) >= least


def test_goal_and_pool_are_apart() -> None:
    everything = [(name, row) for name, rows in sample().items() for row in rows]
    where: dict[str, set[int]] = {}
    for number, (_, row) in enumerate(everything):
        for gram in grams(row["text"]):
            where.setdefault(gram, set()).add(number)
    copied = []
    for number, (name, row) in enumerate(everything):
        if name in GOAL:
            own = grams(row["text"])
            shared = Counter(other for gram in own for other in where[gram] if other != number)
            closest, count = max(shared.items(), key=lambda item: item[1], default=(number, 0))
            if count / len(own) >= 0.5:
                copied.append((name, row["text"] == everything[closest][1]["text"]))
    assert copied == [("holdout", True)] * LISTED_TWICE


def test_the_goal_is_far_from_the_pool() -> None:
    """Target and holdout are half health, half science; the pool has a quarter of both together."""
    for name in GOAL:
        shares = Counter(row["domain"] for row in sample()[name])
        assert set(shares) == {"health-qa", "science"}
        assert abs(shares["science"] - shares["health-qa"]) <= LISTED_TWICE
    texts = Counter(row["domain"] in {"health-qa", "science"} for row in pool() for _ in range(len(row["text"])))
    assert texts[True] < 0.35 * texts.total()
