"""A full-size build over every pool of a data folder: wall time, peak memory, verdict; then the pool five times over.

    python benchmarks/full_size.py --data DATA/A_text --copies 1 5

Peak memory is the largest sum of resident memory (RSS) of the build and its worker processes, sampled every 50 ms.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml


def rss_mb(group: int) -> float:
    """Resident memory of all processes of a session, in MB."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == group:
            total += int(fields[21]) * 4096
    return total / 1e6


def recipe(data: Path, goal: str, copies: int, folder: Path) -> Path:
    """All files but the goal's; the goal is cut into target, holdout and a rest that stays in the pool."""
    import zstandard

    pools = sorted(p for p in data.glob("*.jsonl.zst") if p.name.partition(".")[0] != goal)
    with zstandard.open(data / f"{goal}.jsonl.zst", "rt", encoding="utf-8") as lines:
        rows = list(lines)
    target, holdout = list(range(0, 4000, 20)), list(range(6000, 10_000, 20))
    begins = {json.loads(rows[i])["text"][:60] for i in target}  # listings repeat papers: none may be on both sides
    holdout = [i for i in holdout if json.loads(rows[i])["text"][:60] not in begins]
    parts = {"target": [rows[i] for i in target], "holdout": [rows[i] for i in holdout]}
    taken = {*target, *holdout}
    for name, part in parts.items():
        (folder / f"{name}.jsonl").write_text("".join(part), encoding="utf-8")
    (folder / "rest.jsonl").write_text("".join(r for i, r in enumerate(rows) if i not in taken), encoding="utf-8")
    sources: dict[str, Any] = {}
    for path in [*pools, folder / "rest.jsonl"]:
        name = goal if path.parent == folder else path.name.partition(".")[0]
        files = []
        for copy in range(copies):
            place = folder / f"{copy}" / path.name
            place.parent.mkdir(exist_ok=True)
            shutil.copy(path, place)
            files.append(str(place))
        sources[name] = {"path": files}
    made = {
        "sources": sources,
        "goal": {"target": "target.jsonl", "holdout": "holdout.jsonl", "budget": "10M tokens"},
        "signals": ["quality", "exact_duplicate", {"use": "minhash", "threshold": 0.8}, "importance"],
        "plan": [
            {"keep": "not exact_duplicate.duplicate and not minhash.duplicate"},
            {"use": "sample", "by": "importance.per_token", "fraction": 0.5, "stratify": "source", "temperature": 1},
            {"use": "regmix", "trials": 64, "cap": 4},
        ],
        "proof": {"use": "ngram", "seeds": 5},
        "export": ["jsonl"],
    }
    path = folder / f"full{copies}.yaml"
    path.write_text(yaml.safe_dump(made, sort_keys=False))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with *.jsonl.zst pools")
    parser.add_argument("--goal", default="science_arxiv_2025", help="the pool the goal is cut from")
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    peaks = {}
    print("| copies | records | text MB | minutes | peak RSS MB | verdict |\n|---|---|---|---|---|---|")
    for copies in args.copies:
        folder = Path(tempfile.mkdtemp(prefix="tilth-full-"))
        path = recipe(args.data, args.goal, copies, folder)
        command = [sys.executable, "-c", "from tilth.cli import main; main()", "build", str(path), "--json"]
        command += ["--out", str(folder / "out"), "--workers", str(args.workers)]
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sys.stderr, start_new_session=True)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, rss_mb(process.pid))
            time.sleep(0.05)
        assert process.stdout is not None
        minutes = (time.monotonic() - began) / 60
        if process.returncode:
            sys.exit(process.returncode)
        done = json.loads(process.stdout.read())
        pool = json.loads((folder / "out" / "pool" / "pool.json").read_text())
        peaks[copies] = peak
        print(
            f"| {copies} | {done['records']:,} | {pool['text_bytes'] / 1e6:,.0f} | {minutes:.1f} | {peak:,.0f} "
            f"| {done['verdict']} |",
            flush=True,
        )
        shutil.rmtree(folder)
    if len(peaks) > 1:
        print(f"\npeak RSS, {max(peaks)} copies to {min(peaks)}: {peaks[max(peaks)] / peaks[min(peaks)]:.2f}x")


if __name__ == "__main__":
    main()
