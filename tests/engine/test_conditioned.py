"""A stream of a plan that puts something before its records: read, never learned, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.test_stream import PLAN, POOL, TOKENIZER, dialogue_pool, joined, stream, told

from tilth.core import Budget, Conditioning, Plan
from tilth.core.errors import UsageError
from tilth.engine.stream import Packing, Step

EVIL = "{value}{0.__class__}%s"
VALUES = {"a": "alpha", "b": EVIL, "c": ""}
END = TOKENIZER.eod


def conditioned(plan: Plan, template: str = "from {value}\n") -> Plan:
    """Records of phase 0 after the value of their source; source c has none."""
    names = [VALUES[plan.sources.names[i]] for i in plan.sources.index]
    values = [name if phase == 0 else None for name, phase in zip(names, plan.phase, strict=True)]
    return plan.conditioned(Conditioning.of("source", template, pa.array(values, pa.string())))


HALVES = PLAN.revised({"use": "test"}, "n", phase=np.arange(len(PLAN)) % 10 == 9)
MADE = conditioned(HALVES)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


def before(plan: Plan, row: int) -> list[int]:
    """The tokens of what stands before a record."""
    assert plan.conditioning is not None
    text = plan.conditioning.prefixes[plan.conditioning.tags.index[row]]
    found: list[int] = TOKENIZER.encode_batch([text])[1].tolist()
    return found


def record(row: int) -> list[int]:
    """A record's own tokens and the one that ends it."""
    assert END is not None
    return [*TOKENIZER.encode_batch([POOL.column("text")[row].as_py()])[1].tolist(), END]


def pieces(steps: list[Step]) -> list[tuple[int, list[int], list[int], list[int]]]:
    """Row, ids, labels and positions of every piece, in the order of reading."""
    out = []
    for step in steps:
        at = 0
        for window in range(len(step.input_ids)):
            for segment in range(int(step.segment_ids[window].max()) + 1):
                mine = step.segment_ids[window] == segment
                arrays = (step.input_ids, step.labels, step.position_ids)
                assert step.windows[at] == window
                out.append((int(step.records[at]), *(array[window][mine].tolist() for array in arrays)))
                at += 1
    return out


def test_values_are_put_in_as_they_are() -> None:
    assert MADE.conditioning is not None
    assert MADE.conditioning.prefixes == ("", "from alpha\n", f"from {EVIL}\n")


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["best_fit", "first_fit", "none"]), st.integers(70, 120), st.integers(0, 2))
def test_every_piece_has_its_prefix_and_no_token_of_it_is_learned(
    cache: Path, packing: Packing, context: int, times: int
) -> None:
    repeats = np.where(np.arange(len(PLAN)) % 5 == 0, times, 1)
    plan = conditioned(HALVES.revised({"use": "test"}, "n", repeats=repeats))
    made = stream(cache, plan, packing=packing, context=context)
    found = pieces([*made])
    read: dict[int, list[list[int]]] = {}
    heads = 0
    for row, ids, labels, positions in found:
        head = before(plan, row)
        assert ids[: len(head)] == head
        assert labels[: len(head)] == [-100] * len(head)
        assert positions == [*range(len(ids))]
        own = ids[len(head) :]
        first = own == record(row)[: len(own)]
        assert labels[len(head) + 1 :] == own[1:]
        if head:
            assert labels[len(head)] == own[0], "the prefix predicts a record's first token"
        elif len(own) == len(record(row)):
            assert labels[0] == -100
        assert first or packing != "none"
        heads += len(head)
        read.setdefault(row, []).append(own)
    for row, times in enumerate(plan.repeats.tolist()):
        own = record(row)
        room = context - len(before(plan, row))
        if packing == "none":
            assert read.get(row, []) == [own[:room]] * times
        else:
            cut = [own[i : i + room] for i in range(0, len(own), room)]
            assert sorted(read.get(row, [])) == sorted(cut * times), "no token of a record is lost or read twice"
    assert heads > 0
    assert made.facts["tokens_before"] == heads
    learnable = sum(len(ids) for _, ids, _, _ in found)
    assert made.facts["padding"] == pytest.approx(1 - learnable / (made.facts["windows"] * context))
    phase = [plan.phase[row] for row, *_ in found]
    assert (np.diff(phase) >= 0).all(), "plain records come last"


def test_chunks_cut_the_joined_text_with_its_prefixes(cache: Path) -> None:
    context = 56
    made = stream(cache, MADE, packing="chunk", context=context)
    steps = [*made]
    rows = [row for row, *_ in pieces(steps)]
    order = [row for i, row in enumerate(rows) if i == 0 or row != rows[i - 1]]
    wanted = [token for row in order for token in [*before(MADE, row), *record(row)]]
    hidden = [flag for row in order for flag in [True] * len(before(MADE, row)) + [False] * len(record(row))]
    real = np.concatenate([step.segment_ids.ravel() for step in steps]) >= 0
    assert np.concatenate([step.input_ids.ravel() for step in steps])[real].tolist() == wanted
    labels = np.concatenate([step.labels.ravel() for step in steps])[real]
    assert (labels[np.array(hidden)] == -100).all()
    plain = stream(cache, HALVES, packing="chunk", context=context)
    assert made.facts["tokens"] == plain.facts["tokens"], "the records' own tokens are those of the plain stream"
    assert made.facts["tokens"] + made.facts["tokens_before"] == len(wanted)
    across = [*stream(cache, MADE, packing="chunk", context=context, across=True)]
    labels = np.concatenate([step.labels.ravel() for step in across])[real]
    assert np.array_equal(labels == -100, hidden), "across records all but prefixes is learned"


def test_it_is_another_stream_over_the_same_tokens(cache: Path, tmp_path: Path) -> None:
    plain, made = (stream(tmp_path, plan) for plan in (HALVES, MADE))
    other = stream(tmp_path, conditioned(HALVES, "by {value}\n"))
    assert len({made.state_dict()["plan"] for made in (plain, made, other)}) == 3
    assert len({told([[*reader]]) for reader in (plain, made, other)}) == 3
    assert len([*tmp_path.glob("*/cache.json")]) == 1, "records are tokenized once"
    with pytest.raises(UsageError, match="state is of a stream with plan"):
        made.load_state_dict(plain.state_dict())
    assert plain.facts["tokens_before"] == 0


@pytest.mark.parametrize("packing", ["best_fit", "chunk"])
def test_it_is_resumed_to_the_bit_by_other_ranks_and_workers(cache: Path, packing: Packing) -> None:
    options: dict[str, Any] = {"packing": packing, "epochs": 2}
    whole = [*stream(cache, MADE, **options)]
    first = stream(cache, MADE, **options)
    start = []
    for step in first:
        start.append(step)
        if len(start) == 5:
            break
    state = json.loads(json.dumps(first.state_dict()))
    rest = []
    for rank in (0, 1):
        again = stream(cache, MADE, rank=rank, world=2, prefetch=2, **options)
        again.load_state_dict(state)
        rest.append([*again])
    assert told([[*start, *map(joined, zip(*rest, strict=True))]]) == told([whole])
    loaded = stream(cache, MADE, **options)
    read = [batch["labels"].numpy() for batch in loaded.loader(1)]
    assert all(np.array_equal(labels, step.labels) for labels, step in zip(read, whole, strict=True))


def test_groups_may_be_read_with_prefixes(cache: Path) -> None:
    whole = conditioned(PLAN)
    made = stream(cache, whole, grouped=True)
    total = sum(len(before(whole, row)) for row, *_ in pieces([made.at(step) for step in range(made.steps)]))
    assert made.facts["tokens_before"] == total > 0


def test_what_cannot_be_read_with_prefixes_is_refused(cache: Path) -> None:
    with pytest.raises(UsageError, match="room for 8"):
        stream(cache, conditioned(HALVES, "from the source called {value}\n"), context=16)
    pool = dialogue_pool()
    plan = Plan.everything(pool, Budget(10**9))
    values = pa.array(["x"] * len(plan))
    with pytest.raises(UsageError, match="system turn"):
        stream(cache, plan.conditioned(Conditioning.of("source", "{value}", values)), pool)
