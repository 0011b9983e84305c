"""Open what a build made as a stream, and say what a model will read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tilth.core.errors import UsageError
from tilth.core.plan import Plan
from tilth.engine.apply import signal_state
from tilth.engine.store import StoredPool
from tilth.engine.stream import Stream
from tilth.models.tokenizer import Tokenizer

__all__ = ["describe", "open_stream"]


def open_stream(folder: Path | str, tokenizer: Path | str | Tokenizer | None = None, **settings: Any) -> Stream:
    """The plan that `tilth build` or `tilth plan` wrote, as batches.

    Args:
        folder: the build's folder, which holds ``pool`` and ``plan``.
        tokenizer: or a ``tokenizer.json``; the one the pool's tokens were counted with when not given.
        settings: of `tilth.Stream`: `batch`, `context`, `packing`, ... Tokens are kept in the build's folder.

    Raises:
        PoolCorrupt: when the folder holds no complete plan.
        UsageError: when no tokenizer is given and the pool has none.
    """
    place = Path(folder)
    pool, plan = StoredPool(place / "pool"), Plan.load(place / "plan")
    if isinstance(tokenizer, (str, Path)):
        tokenizer = Tokenizer.load(Path(tokenizer))
    if tokenizer is None:
        state = signal_state(pool, "tokens") if "tokens" in pool.schema.names else None
        if state is None:
            raise UsageError(f"{place / 'pool'} has no tokenizer of its own; give the path of a tokenizer.json.")
        tokenizer = Tokenizer(state)
    return Stream(plan, pool, tokenizer, **{"cache": place / "tokens", **settings})


def describe(stream: Stream, plan: Plan, show: int = 1) -> tuple[dict[str, Any], str]:
    """What a model will read: sizes, what is cut, every source's share as planned and as read, and the first windows.

    Returns:
        Plain data, and the same for people.
    """
    planned = np.array([*plan.mixture().values()])
    shares = stream.mixture(plan.sources)
    whole = stream.mixture(plan.sources, 1 << 62)[0]
    rows = [
        {"source": name, "planned": float(p), "read": float(w), "least": float(s.min()), "most": float(s.max())}
        for name, p, w, s in zip(
            plan.sources.names, planned, whole, shares[:-1].T if len(shares) > 1 else shares.T, strict=True
        )
        if p > 0
    ]
    facts = {"steps": stream.steps, **stream.facts}
    told = {**facts, "sources": rows, "state": stream.state_dict()}
    wide = max([6, *(len(str(row["source"])) for row in rows)])
    lines = [
        f"{facts['steps']:,} steps, {facts['windows']:,} windows, {facts['tokens']:,} tokens of {facts['readings']:,} "
        f"readings; {facts['padding']:.2%} filling, {facts['cut']:,} records cut, {facts['left_out']:,} left out, "
        f"{facts['tokens_left_out']:,} tokens not read",
        *([f"{facts['tokens_before']:,} tokens before records, read but not learned"] * (facts["tokens_before"] > 0)),
        "",
        f"{'source':{wide}} {'planned':>8} {'read':>8}  of every 10,000 records",
    ]
    for row in rows:
        span = f"{row['least']:.2%} to {row['most']:.2%}"
        lines.append(f"{row['source']:{wide}} {row['planned']:>8.2%} {row['read']:>8.2%}  {span}")
    for number, ids in enumerate(stream.at(0).input_ids[:show] if stream.steps else []):
        lines += ["", f"window {number}: {stream.decode(ids)!r}"]
    return told, "\n".join(lines)
