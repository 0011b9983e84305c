"""Kill a proof by small transformers at random instants, resume it, and compare it with an undisturbed one.

The plan of the quick start and its 5 baselines, 3 seeds each, by a `tiny_lm` small enough for half a minute and long
enough that a trial saves itself several times. Pool and plan are made once; only `tilth prove` is killed, with its
workers, and every start draws its number of workers anew. Compared byte by byte: verdict.json, the plans, and every
trial's losses and curve. Nothing unfinished may be left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from killing import Digest, tilth, torture

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
PROOF = "proof={use: tiny_lm, seeds: 3, depth: 1, tokens: 16000, vocab: 512, context: 64, batch: 2, points: 3}"
CANDIDATES, SEEDS = 6, 3
WORKERS = (1, 2, 3)


def digest(out: Path) -> Digest:
    """Everything a proof leaves, hashed: name -> hash."""
    told = {}
    for path in sorted(p for p in (out / "proof").rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        assert not name.endswith((".tmp", ".checkpoint")), f"left behind: {name}"
        data = path.read_bytes()
        if name.startswith("proof/trials/"):
            outcome = pickle.loads(data)
            curve = outcome.curve
            arrays = (outcome.losses, curve.losses, curve.tokens, curve.training)
            data = b"".join(repr((a.dtype, a.shape)).encode() + a.tobytes() for a in arrays)
        told[name] = hashlib.sha256(data).hexdigest()
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--per-proof", type=int, default=2, help="kills before a proof may finish")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tilth-kill-"))
    log, ready = folder / "log", folder / "ready"
    changes = [str(RECIPE), PROOF, "plan.1.trials=16"]
    if tilth(["plan", *changes], ready, 2, log).wait() != 0:
        sys.stdout.write(log.read_text()[-2000:])
        return 1
    whole: dict[int, Digest] = {}
    seconds = []
    for workers in WORKERS:
        out = folder / f"whole{workers}"
        shutil.copytree(ready, out)
        began = time.monotonic()
        if tilth(["prove", *changes], out, workers, log).wait() != 0:
            sys.stdout.write(log.read_text()[-2000:])
            return 1
        seconds.append(time.monotonic() - began)
        whole[workers] = digest(out)
    wanted = whole[WORKERS[0]]
    trials = sum(name.startswith("proof/trials/") for name in wanted)
    assert trials == 2 * CANDIDATES * SEEDS, f"{trials} trials, at full and at half scale"
    same = sum(each == wanted for each in whole.values())
    told = ", ".join(f"{s:.0f} s with {w}" for w, s in zip(WORKERS, seconds, strict=True))
    sys.stdout.write(f"undisturbed: {same} of {len(whole)} proofs alike ({told} workers), {len(wanted)} files\n")
    sys.stdout.flush()

    rng = np.random.default_rng(args.seed)
    inside, done = [], []  # per kill: trials cut after they had saved themselves, trials finished

    def start(out: Path) -> subprocess.Popen[bytes]:
        return tilth(["prove", *changes], out, int(rng.choice(WORKERS)), log)

    def dead(out: Path) -> None:
        inside.append(len(list((out / "proof" / "unfinished").glob("*.checkpoint"))))
        done.append(len(list((out / "proof" / "trials").glob("*.pkl"))))

    toll = torture(
        start, digest, wanted, folder, log,
        kills=args.kills, per_run=args.per_proof, took=float(np.median(seconds)), rng=rng,
        begin=partial(shutil.copytree, ready), dead=dead,
    )  # fmt: skip
    sys.stdout.write(
        f"{toll.kills} kills over {toll.runs} proofs of {CANDIDATES} candidates x {SEEDS} seeds ({toll.early} came too "
        f"late), after {min(done)} to {max(done)} of {trials} trials, {sum(n > 0 for n in inside)} with a trial saved "
        f"half-way: {toll.runs - toll.broken} ended byte-identical to the undisturbed proof (verdict and every trial's "
        f"losses and curve, {len(wanted)} files), {toll.broken} did not\n"
    )
    shutil.rmtree(folder)
    return int(toll.broken > 0 or same < len(whole))


if __name__ == "__main__":
    sys.exit(main())
