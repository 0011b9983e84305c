from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilth.core import Budget, Plan, Run, TablePool
from tilth.core.errors import BadInput, PoolCorrupt, UsageError
from tilth.engine.stream import Buckets, Packing, Step, Stream
from tilth.engine.token_cache import TokenCache
from tilth.models.tokenizer import Tokenizer

WORDS = ["soil", "seed", "field", "plough", "rain", "root", "leaf", "grain", "worm", "loam", "clay", "sand"]
SAY = {"use": "test"}


def texts(count: int, longest: int = 40) -> list[str]:
    rng = np.random.default_rng(count)
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(count)]


def text_pool(count: int = 300) -> TablePool:
    made = texts(count)
    sources = ["abc"[(i % 7 > 3) + (i % 11 == 0)] for i in range(count)]
    return TablePool(pa.table({"text": made, "source": sources, "tokens": [{"count": len(t.split())} for t in made]}))


def dialogue_pool(count: int = 60, turns: int = 5) -> TablePool:
    rng = np.random.default_rng(1)
    talks = []
    for _ in range(count):
        roles = ["user", "assistant"] * int(rng.integers(1, turns))
        talks.append([{"role": r, "content": " ".join(rng.choice(WORDS, rng.integers(1, 12)))} for r in roles])
    return TablePool(pa.table({"messages": talks, "tokens": [{"count": 20}] * count}), "instruction")


TOKENIZER = Tokenizer.train([*texts(200), "user: assistant: \n\n"], vocab=300)
POOL = text_pool()
PLAN = Plan.everything(POOL, Budget(10**9))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokens")


def stream(cache: Path, plan: Plan = PLAN, pool: TablePool = POOL, **more: Any) -> Stream:
    return Stream(plan, pool, TOKENIZER, **{"batch": 12, "context": 64, "cache": cache, "prefetch": 0, **more})


def told(steps: list[list[Step]]) -> str:
    """A hash of what all ranks read: records and ids, window after window."""
    h = hashlib.sha256()
    for ranks in zip(*steps, strict=True):
        for step in ranks:
            h.update(step.records.tobytes() + step.input_ids.tobytes() + step.labels.tobytes())
    return h.hexdigest()


def as_step(given: Mapping[str, Any]) -> Step:
    return Step(**{k: v.numpy() if hasattr(v, "numpy") else v for k, v in given.items()})


@pytest.mark.parametrize("packing", ["chunk", "best_fit", "first_fit", "none"])
def test_one_sequence_for_all_ranks_workers_and_interruptions(cache: Path, packing: Packing) -> None:
    whole = told([[*stream(cache, packing=packing)]])
    layouts = [(world, workers) for world in (1, 2, 3) for workers in (0, 2)]
    rng = np.random.default_rng(0)
    for world, workers in layouts if packing == "best_fit" else layouts[2:3]:
        state, pieces = stream(cache, packing=packing).state_dict(), []
        cuts = sorted({*rng.integers(1, 10, 3).tolist(), 10**6})
        for at, cut in enumerate(cuts):  # every piece is read by another layout: world, then 1, 2, 3 ranks in turn
            ranks = world if at == 0 else 1 + at % 3
            parts: list[list[Step]] = []
            for rank in range(ranks):
                mine = stream(cache, packing=packing, rank=rank, world=ranks)
                mine.load_state_dict(json.loads(json.dumps(state)))
                reader: Iterator[Any] = iter(mine) if not workers else map(as_step, mine.loader(workers))
                parts.append([])
                for step in reader:
                    parts[-1].append(step)
                    if step.step + 1 >= cut:
                        break
                last = mine.state_dict()
            state = last
            pieces.append([joined(ranks) for ranks in zip(*parts, strict=True)])
        assert told([[step for piece in pieces for step in piece]]) == whole


def joined(ranks: tuple[Step, ...]) -> Step:
    """The parts of one step as the whole."""
    names = ("input_ids", "labels", "position_ids", "segment_ids", "records", "windows")
    each: dict[str, Any] = {name: np.concatenate([getattr(step, name) for step in ranks]) for name in names}
    filling = np.argsort((each["segment_ids"] < 0).all(1), kind="stable")  # each rank's lies behind its own windows
    each |= {name: each[name][filling] for name in names[:4]}
    return Step(ranks[0].epoch, ranks[0].step, **each)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    repeats = rng.integers(0, draw(st.integers(2, 4)), len(PLAN))
    repeats[0] = 1
    rank = np.where(rng.random(len(PLAN)) < draw(st.sampled_from([0.0, 0.3, 1.0])), rng.random(len(PLAN)), np.nan)
    return PLAN.revised(SAY, "n", repeats=repeats, phase=rng.integers(0, draw(st.integers(1, 3)), len(PLAN)), rank=rank)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans(), st.sampled_from(["chunk", "best_fit", "first_fit"]), st.integers(8, 90), st.integers(1, 3))
def test_every_token_is_read_as_often_as_the_plan_says(
    cache: Path, plan: Plan, packing: Packing, context: int, world: int
) -> None:
    readers = [stream(cache, plan, packing=packing, context=context, rank=r, world=world) for r in range(world)]
    steps = [step for reader in readers for step in reader]
    _, ids = TOKENIZER.encode_batch(POOL.column("text").to_pylist())
    offsets, _ = TOKENIZER.encode_batch(POOL.column("text").to_pylist())
    wanted = np.zeros(TOKENIZER.vocab_size, np.int64)
    for row, times in enumerate(plan.repeats.tolist()):
        wanted += times * np.bincount(ids[offsets[row] : offsets[row + 1]], minlength=wanted.size)
    wanted[TOKENIZER.eod] += plan.repeats.sum()
    read = sum(np.bincount(s.input_ids[s.segment_ids >= 0], minlength=wanted.size) for s in steps)
    assert np.array_equal(read, wanted)
    phase = [plan.phase[step.records] for step in stream(cache, plan, packing=packing, context=context)]
    assert (np.diff(np.concatenate(phase)) >= 0).all()
    facts = readers[0].facts
    assert facts["padding"] == pytest.approx(1 - wanted.sum() / (facts["windows"] * context))


def test_labels_positions_and_segments_keep_records_apart(cache: Path) -> None:
    for step in stream(cache, context=32):
        first = np.diff(step.segment_ids, prepend=-2, axis=1) != 0
        assert (step.labels[first] == -100).all()
        assert (step.position_ids[first] == 0).all()
        inside = ~first & (step.segment_ids >= 0)
        assert (np.diff(step.position_ids, prepend=0, axis=1)[inside] == 1).all()
        assert (step.labels[step.segment_ids < 0] == -100).all()
        assert (step.labels[inside] == step.input_ids[inside]).all()
        text = TOKENIZER.decode(step.input_ids[0][step.segment_ids[0] == 0])
        row = int(step.records[step.windows == 0][0])
        assert text.removesuffix("<|endoftext|>") in POOL.column("text")[row].as_py()
    assert stream(cache, context=32).facts["cut"] > 10
    together = next(iter(stream(cache, across=True)))
    assert set(np.unique(together.segment_ids)) <= {-1, 0}
    assert together.position_ids.max() == 63


def test_dialogues_are_cut_between_rounds_and_only_answers_are_learned(cache: Path) -> None:
    pool = dialogue_pool()
    plan = Plan.everything(pool, Budget(10**9))
    made = stream(cache, plan, pool, context=80)
    assert made.facts["cut"] > 0
    assert made.facts["left_out"] == 0
    few = stream(cache, plan, pool, context=30)
    assert few.facts["left_out"] > 0
    assert few.facts["tokens"] + few.facts["tokens_left_out"] == made.facts["tokens"]
    answers = 0
    for step in made:
        for row in range(len(step.input_ids)):
            for segment in range(step.segment_ids[row].max() + 1):
                mine = step.segment_ids[row] == segment
                said = step.labels[row][mine] >= 0
                assert said[-1], "a piece ends with an answer's end"
                text = TOKENIZER.decode(step.input_ids[row][mine])
                assert text.lstrip().startswith("user: ")
                learned = step.input_ids[row][mine][said]
                answers += int((learned == TOKENIZER.eod).sum())
    assert answers == sum(len(talk) // 2 for talk in pool.column("messages").to_pylist())
    with pytest.raises(UsageError, match="assistant's turn"):
        stream(cache, plan, pool, packing="chunk")


def test_a_state_is_small_and_resuming_fast_and_of_the_same_thing(cache: Path) -> None:
    made = stream(cache)
    next(iter(made))
    state = json.loads(json.dumps(made.state_dict()))
    assert len(json.dumps(state)) < 1000
    began = time.process_time()
    again = stream(cache)
    again.load_state_dict(state)
    assert next(iter(again)).step == 1
    assert time.process_time() - began < 1
    other = text_pool(299)
    changed = stream(cache, Plan.everything(other, Budget(10**9)), other)
    with pytest.raises(UsageError, match=f"{PLAN.fingerprint}.*{changed.state_dict()['plan']}"):
        changed.load_state_dict(state)
    with pytest.raises(UsageError, match=f"{PLAN.pool}.*{other.fingerprint}"):
        stream(cache, PLAN, other)
    with pytest.raises(UsageError, match="context 64; this one has 32"):
        stream(cache, context=32).load_state_dict(state)


def test_epochs_are_read_in_other_orders_and_resumed_in_the_second(cache: Path) -> None:
    whole = [*stream(cache, epochs=2)]
    half = [s.records for s in whole if s.epoch == 0], [s.records for s in whole if s.epoch == 1]
    first, second = (np.concatenate(part) for part in half)
    assert sorted(set(first)) == sorted(set(second)) == [*range(300)]
    assert not np.array_equal(first[:50], second[:50])
    middle = stream(cache, epochs=2)
    middle.load_state_dict({**middle.state_dict(), "epoch": 1, "step": 3})
    assert np.array_equal(next(iter(middle)).records, half[1][3])


def test_a_broken_cache_is_found_and_made_anew(tmp_path: Path) -> None:
    whole = told([[*stream(tmp_path)]])
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    data = bytearray((folder / "ids.bin").read_bytes())
    data[len(data) // 2] ^= 1
    before = (folder / "ids.bin").stat()
    (folder / "ids.bin").write_bytes(data)
    os.utime(folder / "ids.bin", ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(PoolCorrupt, match="another checksum"):
        TokenCache.open(folder).check(np.array([0]), np.array([len(data) // 2]))
    with pytest.warns(UserWarning, match="Making it anew"):
        assert told([[*stream(tmp_path)]]) == whole
    (folder / "offsets.npy").write_bytes(b"half")
    assert told([[*stream(tmp_path)]]) == whole


@pytest.mark.parametrize("damage", ["changed", "shorter", "empty", "gone"])
@pytest.mark.parametrize("name", ["begins", "places", "starts", "lengths", "steps", "widths", "facts"])
def test_a_broken_order_is_found_and_made_anew(tmp_path: Path, cache: Path, name: str, damage: str) -> None:
    whole = told([[*stream(cache)]])
    stream(tmp_path)
    (path,) = [path for path in tmp_path.glob(f"*/order-*/{name}.*")]
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x55
    path.unlink()
    if damage != "gone":
        path.write_bytes(bytes(data if damage == "changed" else data[:-8] if damage == "shorter" else b""))
    assert told([[*stream(tmp_path)]]) == whole
    facts = [json.loads(path.read_text()) for path in (*tmp_path.glob("*/*/facts.json"), *cache.glob("*/*/facts.json"))]
    assert facts[0] in facts[1:]


def test_a_block_of_the_order_that_breaks_while_it_is_read_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilth.engine.sums.BLOCK", 256)
    whole = told([[*stream(tmp_path)]])
    (path,) = tmp_path.glob("*/order-*/begins.npy")
    for prefetch, workers in ((0, 0), (2, 0), (0, 1)):
        data = bytearray(path.read_bytes())
        data[-60] ^= 0x55
        path.write_bytes(data)
        made = stream(tmp_path, prefetch=prefetch)
        if workers:
            with pytest.raises(PoolCorrupt, match="another checksum"):
                [*made.loader(workers)]
            assert told([[*stream(tmp_path)]]) == whole
        else:
            with pytest.warns(UserWarning, match="Making it anew"):
                assert told([[*made]]) == whole


def test_a_killed_cache_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilth.engine.token_cache.PIECE", 50)
    encode = Tokenizer.encode_batch
    calls: list[int] = []

    def dying(self: Tokenizer, batch: list[str]) -> Any:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(Tokenizer, "encode_batch", dying)
    with pytest.raises(KeyboardInterrupt):
        stream(tmp_path)
    assert not [*tmp_path.glob("*/cache.json")]
    calls[:] = [0] * 10
    stream(tmp_path)
    assert calls[10:] == [50] * 3


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")  # where another test has imported it
def test_workers_may_fork_or_spawn(cache: Path, method: str) -> None:
    whole = told([[*stream(cache)]])
    assert told([[*map(as_step, stream(cache).loader(1, multiprocessing_context=method))]]) == whole
    context = multiprocessing.get_context(method)
    with context.Pool(1) as others:
        assert others.apply(_first, (pickle.dumps(stream(cache)),)) == next(iter(stream(cache))).records.tolist()


def _first(data: bytes) -> list[int]:
    found: list[int] = pickle.loads(data).at(0).records.tolist()
    return found


def test_prefetching_changes_nothing_and_waits_are_measured(cache: Path) -> None:
    made = stream(cache, prefetch=3)
    assert told([[*made]]) == told([[*stream(cache)]])
    assert made.waited > 0


def test_a_remote_cache_is_copied(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    whole = told([[*stream(cache)]])
    memory = fsspec.filesystem("memory")
    memory.put(str(cache), "/tokens", recursive=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(Tokenizer, "encode_batch", lambda *_: pytest.fail("the cache was made, not copied"))
    assert told([[*Stream(PLAN, POOL, TOKENIZER, batch=12, context=64, cache="memory://tokens")]]) == whole


def test_an_address_that_became_a_path_is_refused() -> None:
    with pytest.raises(UsageError, match="as text"):
        stream(Path("s3://bucket/tokens"))


def test_sources_keep_their_shares_in_every_window_of_records(cache: Path) -> None:
    plan = PLAN.mixed(SAY, "n", {"a": 0.5, "b": 0.3, "c": 0.2}, PLAN.sources, np.arange(len(PLAN), dtype=float), cap=9)
    read = np.concatenate([s.records for s in stream(cache, plan, packing="none")])
    tokens = plan.sizes[read]
    had = np.cumsum(np.equal.outer(np.arange(3), plan.sources.index[read]) * tokens, 1)
    due = np.outer([plan.mixture()[n] for n in "abc"], np.cumsum(tokens))
    assert np.abs(had - due).max() <= plan.sizes.max()


@pytest.mark.parametrize("packing", ["best_fit", "first_fit"])
def test_packed_windows_keep_the_shares_of_sources(cache: Path, packing: Packing) -> None:
    """In a random order of these 640 windows sources would be off by several hundred tokens."""
    pool = text_pool(2000)
    plan = Plan.everything(pool, Budget(10**9))
    order = stream(cache, plan, pool, packing=packing)._order.arrays
    source = plan.sources.index[order["places"]]
    had = np.cumsum(np.equal.outer(np.arange(3), source) * order["lengths"], 1)[:, order["begins"][1:] - 1]
    due = np.outer(had[:, -1] / had[:, -1].sum(), had.sum(0))
    assert np.abs(had - due).max() <= 2 * 64


@pytest.mark.parametrize("packing", ["best_fit", "first_fit", "chunk", "none"])
def test_a_plan_in_order_is_read_in_order(cache: Path, packing: Packing) -> None:
    plan = PLAN.revised(SAY, "n", rank=np.random.default_rng(0).permutation(len(PLAN)) / len(PLAN))
    read = np.concatenate([step.records for step in stream(cache, plan, packing=packing, context=48)])
    order = plan.reading_order(Run())[0]
    place = np.empty(len(PLAN))
    place[order] = np.arange(len(PLAN)) / len(PLAN)
    assert np.abs(place[read] - np.arange(read.size) / read.size).mean() < (0.09 if "fit" in packing else 0.03)


@pytest.mark.parametrize("world", [2, 3, 4, 6])
def test_every_rank_has_something_to_learn_at_every_step(cache: Path, world: int) -> None:
    seen = set()
    for context in (60, 64, 80):
        for rank in range(world):
            steps = [*stream(cache, context=context, rank=rank, world=world)]
            assert all((step.labels >= 0).any() for step in steps)
            assert {len(step.input_ids) for step in steps} == {12 // world}
        seen.add(stream(cache, context=context).facts["windows"] % 12)
    assert min(seen) <= 12 - 12 // world, "no last step is short enough to leave a rank without any"


def test_a_folder_that_cannot_be_written_to_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = told([[*stream(tmp_path)]])

    def refused(folder: Path, wait: float = 0.0) -> Any:
        raise OSError(errno.EROFS, "Read-only file system", str(folder))

    monkeypatch.setattr("tilth.engine.stream.locked", refused)
    monkeypatch.setattr("tilth.engine.token_cache.locked", refused)
    assert told([[*stream(tmp_path)]]) == whole
    with pytest.raises(UsageError, match="Give a `cache` folder"):
        stream(tmp_path, seed=5)
    with pytest.raises(UsageError, match="Give a `cache` folder"):
        stream(tmp_path / "other")


def test_nothing_to_read_is_said(cache: Path) -> None:
    talk = [{"role": "user", "content": "soil"}, {"role": "assistant", "content": "rain " * 40}]
    pool = TablePool(pa.table({"messages": [talk], "tokens": [{"count": 50}]}), "instruction")
    with pytest.raises(BadInput, match="longer than the context"):
        stream(cache, Plan.everything(pool, Budget(99)), pool, context=16)
    with pytest.raises(BadInput, match="shorter than the shortest"):
        stream(cache, packing=Buckets(shortest=1024), context=1024)
    pool = TablePool(pa.table({"messages": [talk[:1]], "tokens": [{"count": 5}]}), "instruction")
    with pytest.raises(BadInput, match="assistant's turn"):
        stream(cache, Plan.everything(pool, Budget(99)), pool)


def test_processes_that_prepare_steps_have_no_pool(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Stream.at

    def looked(self: Stream, step: int) -> Step:
        assert self._made is None, "a forked process reads the pool"
        return at(self, step)

    monkeypatch.setattr(Stream, "at", looked)
    assert [*stream(cache).loader(1, multiprocessing_context="fork")]


def test_updates_of_a_model_are_found_in_later_epochs(cache: Path) -> None:
    made = stream(cache, epochs=3)
    first = made.steps
    made.seek(-(-first // 4) + 1, 4)
    assert (made.epoch, made.step) == (1, 4)
    made.seek(2)
    assert (made.epoch, made.step) == (0, 2)
    with pytest.raises(UsageError, match="3 epochs"):
        made.seek(10**6)


def test_what_cannot_be_streamed_is_refused(cache: Path) -> None:
    for name in ("batch", "context", "epochs"):
        more: dict[str, Any] = {name: 0}
        with pytest.raises(UsageError, match=f"{name} is at least"):
            stream(cache, **more)
    with pytest.raises(UsageError, match="together"):
        stream(cache, world=2)
    with pytest.raises(UsageError, match="Got 99"):
        stream(cache).at(99)
    state = stream(cache).state_dict()
    with pytest.raises(UsageError, match="after 99"):
        stream(cache).load_state_dict({**state, "step": 99})
    pool = TablePool(pa.table({"text": ["x"], "label": ["y"]}), "labeled")
    with pytest.raises(UsageError, match="labeled"):
        stream(cache, Plan.everything(pool, Budget(1, "records")), pool)
    with pytest.raises(UsageError, match="equal part"):
        stream(cache, rank=0, world=5)


def test_shares_may_move_between_steps_and_are_resumed_and_replayed_to_the_bit(cache: Path) -> None:
    from tilth.models.steer import Steer

    def made(**more: Any) -> tuple[Stream, Steer]:
        reader = stream(cache, grouped=True, **more)
        return reader, Steer("doremi", reader.groups, every=2)

    def read(reader: Stream, steer: Steer, steps: int) -> list[Step]:
        seen = []
        for step in reader.drawn(steer, steps):
            seen.append(step)
            steer.update(step.step + 1, excess={"a": 2.0, "b": 0.0, "c": 0.0})
        return seen

    reader, steer = made()
    whole = read(reader, steer, 12)
    late = [name for step in whole[8:] for name in step.groups]
    assert late.count("a") > 0.8 * len(late)
    for step in whole:
        names = [PLAN.sources.names[PLAN.sources.index[row]] for row in step.records]
        assert names == [step.groups[window] for window in step.windows]
    assert sum(reader.groups.values()) == reader.facts["windows"]

    first, half = made()
    start = read(first, half, 5)
    states = pickle.dumps((first.state_dict(), half.state_dict()))
    rest = []
    for rank in (0, 1):
        again, other = made(rank=rank, world=2)
        state, steering = pickle.loads(states)
        again.load_state_dict(state)
        other.load_state_dict(steering)
        rest.append(read(again, other, 12))
    resumed = [*start, *map(joined, zip(*rest, strict=True))]
    assert told([resumed]) == told([whole])
    assert first.steps < 40
    read(first, half, 40)
    again, other = made()
    again.load_state_dict(first.state_dict())
    other.load_state_dict(half.state_dict())
    assert [step.step for step in read(again, other, 42)] == [40, 41]
    with pytest.raises(UsageError, match="grouped"):
        next(stream(cache).drawn(steer, 1))


def test_empty_records_are_left_out_and_counted(cache: Path) -> None:
    pool = TablePool(pa.table({"text": ["soil", "", None, "seed"], "tokens": [{"count": 1}] * 4}))
    made = stream(cache, Plan.everything(pool, Budget(9)), pool, packing="none", batch=1)
    assert sorted(np.concatenate([step.records for step in made]).tolist()) == [0, 3]
    assert made.facts["left_out"] == 2


def test_a_grouped_stream_refuses_an_order_it_would_drop(cache: Path) -> None:
    with pytest.raises(UsageError, match="phases or ranks"):
        stream(cache, PLAN.revised(SAY, "n", phase=np.arange(len(PLAN)) % 2), grouped=True)


def test_buckets_have_one_record_in_each_window_and_as_many_tokens_at_every_step(cache: Path) -> None:
    packing = Buckets(shortest=8, cycles=2)
    steps = [*stream(cache, packing=packing, batch=6)]
    widths = {step.input_ids.shape[1] for step in steps}
    assert widths >= {9, 17, 33}
    for step in steps:
        windows, width = step.input_ids.shape
        assert windows * (width - 1) == 6 * 64
        assert (step.segment_ids == 0).all()
        assert (step.position_ids == np.arange(width)).all()
        assert (step.labels[:, 1:] == step.input_ids[:, 1:]).all()
    facts = stream(cache, packing=packing, batch=6).facts
    assert facts["tokens"] == sum(step.input_ids.size for step in steps)
    assert facts["tokens"] + facts["tokens_left_out"] == stream(cache).facts["tokens"]
    parts = [[*stream(cache, packing=packing, batch=6, rank=rank, world=3)] for rank in range(3)]
    assert told([[joined(ranks) for ranks in zip(*parts, strict=True)]]) == told([steps])
    with pytest.raises(UsageError, match="phases or ranks"):
        stream(cache, PLAN.revised(SAY, "n", rank=np.arange(len(PLAN))), packing=packing)
    with pytest.raises(UsageError, match="powers of two"):
        stream(cache, packing=packing, context=60)
