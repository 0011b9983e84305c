"""The command line: verbs that mirror the Python API. Heavy modules are imported by the verb that needs them."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tilth.core.errors import BadRecipe, TilthError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress

    from tilth.build import Build

app = typer.Typer(
    name="tilth",
    help="Decide what a language model should be trained on, and prove the choice on small models.",
    epilog="Start with: tilth init data/*.jsonl > recipe.yaml && tilth build recipe.yaml. "
    "Exit codes: 0 done, 2 wrong request, 3 unusable data, 4 pool on disk, 5 bug in a method, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RecipeArg = Annotated[Path, typer.Argument(help="the recipe's YAML file", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="changes to the recipe, such as goal.budget=5M", show_default=False)
]
Out = Annotated[Path | None, typer.Option(help="folder for everything made; default build/<recipe's name>")]
Processes = Annotated[int, typer.Option(min=1, help="processes")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON on standard output, nothing else")]
Wait = Annotated[float, typer.Option(min=0, help="seconds to wait for another writer of the same folder")]
Strict = Annotated[bool, typer.Option(help="the first unreadable line is an error instead of being quarantined")]
Device = Annotated[str, typer.Option(help="where neural models run: cpu, cuda, or auto for the best there is")]
DryRun = Annotated[bool, typer.Option(help="print tokens, minutes, memory and disk; run nothing")]
CORES = os.cpu_count() or 1


def _version(asked: bool) -> None:
    if asked:
        from tilth import __version__

        _emit(None, False, f"tilth {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What comes before a command."""


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _emit(value: Any, as_json: bool, text: str) -> None:
    sys.stdout.write((json.dumps(value, indent=1, default=str) if as_json else text) + "\n")


_showing: list[Progress] = []  # the terminal has one live display: bars inside bars become lines of it


def _bar(items: Iterable[Any], label: str, total: int | None) -> Iterator[Any]:
    """A progress bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield from items
        return
    if _showing:
        task = _showing[0].add_task(label, total=total)
        try:
            yield from _showing[0].track(items, total=total, task_id=task)
        finally:
            _showing[0].remove_task(task)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        _showing.append(progress)
        try:
            yield from progress.track(items, total=total, description=label)
        finally:
            _showing.remove(progress)


def _stamp(recipe: Path, overrides: list[str] | None) -> tuple[str, dict[str, Any]]:
    """What a build depends on, read without importing any method: recipe, overrides, files' marks, tilth itself."""
    import hashlib

    import yaml

    from tilth import __version__, marks
    from tilth.recipe import override, read

    raw = yaml.safe_load(read(recipe))
    if not isinstance(raw, dict):
        raise BadRecipe("A recipe is a YAML mapping with at least `sources:`. `tilth init` writes one.")
    for change in overrides or ():
        override(raw, change)
    files = marks.of_recipe(raw, recipe.parent)
    value = json.dumps([__version__, marks.of_code(), raw, files], sort_keys=True, default=str)
    return hashlib.sha256(value.encode()).hexdigest(), raw


def _build(
    recipe: Path,
    overrides: list[str] | None,
    out: Path | None,
    workers: int,
    strict: bool = False,
    wait: float = 0,
    device: str = "cpu",
) -> Build:
    from tilth.build import Build
    from tilth.engine.local import Workers
    from tilth.recipe import load

    return Build(
        recipe=load(recipe, overrides or ()),
        base=recipe.parent,
        out=out or _out(recipe),
        workers=Workers(workers, _bar),
        strict=strict,
        wait=wait,
        device=_device(device),
        say=_say,
    )


def _device(name: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:\d+)?|auto", name):
        raise UsageError(f"--device is cpu, cuda, cuda:NUMBER or auto. Got {name!r}.")
    if not name.startswith("cuda"):
        return name
    from tilth.core import Run

    if Run(device="auto").device == "cpu":
        raise UsageError("--device cuda needs a GPU and a torch that can use it; torch finds none here. Leave it out.")
    return name


def _out(recipe: Path) -> Path:
    return Path("build") / recipe.stem


@app.command()
def build(
    recipe: RecipeArg,
    overrides: Overrides = None,
    out: Out = None,
    workers: Processes = CORES,
    device: Device = "cpu",
    strict: Strict = False,
    wait: Wait = 0.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Do all of a recipe: import, score, plan, prove, export, report.

    What is done is skipped and what was cut is resumed. Ends with the verdict and the report's path.

    Example: tilth build recipes/quickstart.yaml goal.budget=200k
    """
    folder = out or _out(recipe)
    stamp, _ = _stamp(recipe, overrides)
    stamp = f"{stamp} {device}"
    mark = folder / "build.json"
    if not dry_run and mark.exists():
        done = json.loads(mark.read_text())
        if done.get("stamp") == stamp and all(Path(p).exists() for p in [done["report"], *done["exports"]]):
            _say("nothing to do: recipe, inputs and code are as they were in the last build")
            _emit(done, as_json, _ending(done))
            return
    job = _build(recipe, overrides, out, workers, strict, wait, device)
    if dry_run:
        from tilth.estimate import estimate

        forecast = estimate(job)
        _emit(forecast.as_dict(), as_json, forecast.text())
        return
    began = time.monotonic()
    from tilth.engine.local import write_atomic

    with job.session():
        mark.unlink(missing_ok=True)
        done = job.all() | {"stamp": stamp}
        write_atomic(mark, json.dumps(done, indent=1).encode())
    _say(f"done in {time.monotonic() - began:.0f} s")
    _emit(done, as_json, _ending(done))


def _ending(done: dict[str, Any]) -> str:
    lines = []
    if "verdict" in done:
        lines.append(f"verdict  {done['verdict']}")
    lines.append(f"report   {done['report']}")
    return "\n".join(lines)


@app.command(name="import")
def import_(
    recipe: RecipeArg,
    overrides: Overrides = None,
    out: Out = None,
    workers: Processes = CORES,
    strict: Strict = False,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Import the recipe's sources into a pool.

    Example: tilth import recipe.yaml --strict
    """
    job = _build(recipe, overrides, out, workers, strict, wait)
    with job.session():
        pool = job.imported
    info = {"pool": str(pool.folder), "kind": pool.kind, "records": pool.count, **dict(pool.origin)}
    quarantined = (
        f"; {info['quarantined']:,} lines in {pool.folder / 'quarantine.jsonl'}" if info["quarantined"] else ""
    )
    _emit(info, as_json, f"{pool.count:,} {pool.kind} records in {pool.folder}{quarantined}")


@app.command()
def score(
    recipe: RecipeArg,
    overrides: Overrides = None,
    out: Out = None,
    workers: Processes = CORES,
    device: Device = "cpu",
    wait: Wait = 0.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compute the recipe's signals; each becomes a column of the pool.

    Signals that watch the same training share it; `--dry-run` says what is trained, how long it takes and what it
    keeps on disk.

    Example: tilth score recipe.yaml
    """
    job = _build(recipe, overrides, out, workers, wait=wait, device=device)
    if dry_run:
        from tilth.estimate import estimate

        forecast = estimate(job, prove=False)
        _emit(forecast.as_dict(), as_json, forecast.text())
        return
    with job.session():
        pool = job.pool
    columns = {name: list(signal.makes) for name, signal in job.signals.items()}
    text = "\n".join(f"{name}: {', '.join(made)}" for name, made in columns.items())
    _emit({"pool": str(pool.folder), "version": pool.version, "columns": columns}, as_json, text)


@app.command()
def plan(
    recipe: RecipeArg,
    overrides: Overrides = None,
    out: Out = None,
    workers: Processes = CORES,
    device: Device = "cpu",
    wait: Wait = 0.0,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="run each mixing policy with other seeds, proxy and tokenizer, too")
    ] = False,
    as_json: Json = False,
) -> None:
    """Decide: apply the recipe's policies and save the plan.

    Example: tilth plan recipe.yaml plan.1.trials=128 --sensitivity
    """
    from tilth.explain import describe_plan

    job = _build(recipe, overrides, out, workers, wait=wait, device=device)
    with job.session():
        made = job.plan
        told, text = made.header(), describe_plan(made)
        if sensitivity:
            from tilth import sensitivity as measured

            shifts = measured.sensitivity(job)
            told["sensitivity"] = [shift.as_dict() for shift in shifts]
            text += "\n\n" + measured.describe(shifts)
    _emit(told, as_json, text)


@app.command()
def prove(
    recipe: RecipeArg,
    overrides: Overrides = None,
    out: Out = None,
    workers: Processes = CORES,
    device: Device = "cpu",
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Test the plan against its baselines on small models.

    Example: tilth prove recipe.yaml proof.seeds=10
    """
    from tilth.explain import describe_verdict

    job = _build(recipe, overrides, out, workers, wait=wait, device=device)
    with job.session():
        verdict = job.verdict
    _emit(verdict.as_dict(), as_json, describe_verdict(verdict))


@app.command()
def tournament(
    recipe: RecipeArg,
    overrides: Overrides = None,
    policies: Annotated[
        list[str] | None,
        typer.Option(help="a,b,c: names, labels of the recipe's tournament section, or name[field=value, ...]"),
    ] = None,
    shared: Annotated[
        int | None, typer.Option(min=0, help="how many of the plan's policies come first for all; default all but one")
    ] = None,
    halving: Annotated[bool, typer.Option("--halving", help="try all cheaply, only the best at full scale")] = False,
    out: Out = None,
    workers: Processes = CORES,
    device: Device = "cpu",
    wait: Wait = 0.0,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Compare many policies under the same budget, baselines and proof: one table.

    The policies of the recipe's plan before its last are applied first, for candidates and baselines alike; each
    candidate then stands in the last one's place. Without --policies the recipe's tournament section takes part, or
    else every policy that applies. One that fails is named with its reason and stops nobody else.

    Example: tilth tournament recipe.yaml --policies 'regmix[trials=32],regmix,temperature_mix'
    """
    from tilth.contest import Contest
    from tilth.explain import describe_tournament

    contest = Contest(
        _build(recipe, overrides, out, workers, wait=wait, device=device), policies or (), shared, halving
    )
    if dry_run:
        from tilth.estimate import estimate

        forecast = estimate(contest.build, contest.candidates, contest.trials)
        _emit(forecast.as_dict(), as_json, forecast.text())
        return
    with contest.build.session():
        found, page = contest.finish()
    _emit(contest.as_dict() | {"page": str(page)}, as_json, f"{describe_tournament(found)}\n\npage     {page}")


@app.command()
def variance(
    recipe: RecipeArg,
    overrides: Overrides = None,
    init: Annotated[int, typer.Option(min=1, help="draws of the initial weights")] = 3,
    order: Annotated[int, typer.Option(min=1, help="orders of the data")] = 3,
    subset: Annotated[int, typer.Option(min=1, help="disjoint pieces of the plan")] = 3,
    out: Out = None,
    workers: Processes = CORES,
    device: Device = "cpu",
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Split the noise of the recipe's proof into initial weights, data order, data subset and holdout items.

    Runs the plan's trial in all combinations; 1 holds a source still. Tells what to spend seeds on.

    Example: tilth variance recipe.yaml --init 5 --order 5 --subset 1
    """
    job = _build(recipe, overrides, out, workers, wait=wait, device=device)
    with job.session():
        found = job.variance(init=init, order=order, subset=subset)
    text = "\n".join(
        f"{row['source']:10} sd {row['sd']:.5f}  {row['share']:6.1%} of the variance" for row in found.table()
    )
    _emit(found.as_dict(), as_json, text)


@app.command()
def export(
    recipe: RecipeArg,
    overrides: Overrides = None,
    out: Out = None,
    workers: Processes = CORES,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Write the plan's records in the recipe's formats.

    Example: tilth export recipe.yaml 'export=[jsonl, megatron]'
    """
    job = _build(recipe, overrides, out, workers, wait=wait)
    with job.session():
        folders = [str(p) for p in job.exported]
    if not folders:
        raise BadRecipe("The recipe exports nothing: state export: [jsonl].")
    _emit({"exports": folders}, as_json, "\n".join(folders))


@app.command()
def stream(
    recipe: RecipeArg,
    overrides: Overrides = None,
    batch: Annotated[int, typer.Option(min=1, help="windows of a step, over all ranks")] = 8,
    context: Annotated[int, typer.Option(min=8, help="tokens of a window")] = 1024,
    packing: Annotated[str, typer.Option(help="best_fit, first_fit, chunk, none or buckets")] = "best_fit",
    seed: Annotated[int, typer.Option(help="of the order")] = 0,
    tokenizer: Annotated[Path | None, typer.Option(help="a tokenizer.json; default the pool's own")] = None,
    show: Annotated[int, typer.Option(min=0, help="windows of the first step to print")] = 1,
    out: Out = None,
    workers: Processes = CORES,
    wait: Wait = 0.0,
    as_json: Json = False,
) -> None:
    """Look at the batches a trainer will get: steps, filling, shares as planned and as read, the first windows.

    Tokens and order are kept in the build's folder, where `tilth.open_stream(folder)` finds them.

    Example: tilth stream recipes/quickstart.yaml --context 512 --show 2
    """
    from tilth.engine.stream import PACKINGS, Buckets
    from tilth.stream import describe, open_stream

    if packing not in (*PACKINGS, "buckets"):
        raise UsageError(f"--packing is one of {', '.join(PACKINGS)} and buckets. Got {packing!r}.")
    chosen = Buckets(shortest=min(Buckets.shortest, context)) if packing == "buckets" else packing
    job = _build(recipe, overrides, out, workers, wait=wait)
    with job.session():
        plan = job.plan
        made = open_stream(
            job.out, tokenizer, batch=batch, context=context, packing=chosen, seed=seed, workers=job.workers
        )
    told, text = describe(made, plan, show)
    _emit(told, as_json, text)


@app.command()
def why(
    recipe: RecipeArg,
    record: Annotated[str, typer.Argument(help="a record's id, as in the exports and the report")],
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Explain one record: its signals, what each policy decided and what would have to change.

    Example: tilth why recipes/quickstart.yaml 4f0c...
    """
    from tilth.explain import describe_why
    from tilth.explain import why as explain

    told = explain(out or _out(recipe), record)
    _emit(told, as_json, describe_why(told))


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="a build's folder, or a folder with plan.json")],
    after: Annotated[Path, typer.Argument(help="another one over the same pool")],
    as_json: Json = False,
) -> None:
    """Compare two plans: who entered, who left, and why.

    Example: tilth diff build/before build/after
    """
    from tilth.explain import describe_diff
    from tilth.explain import diff as compare

    told = compare(before, after)
    _emit(told, as_json, describe_diff(told))


@app.command()
def plot(
    pool: Annotated[Path, typer.Argument(help="a build's folder, or the pool inside it", show_default=False)],
    signal: Annotated[str, typer.Argument(help="SIGNAL or SIGNAL.OUTPUT; when empty, how all of them correlate")] = "",
    out: Annotated[Path | None, typer.Option(help="file ending in .svg, .png or .html; default SIGNAL.svg")] = None,
    kind: Annotated[
        str | None, typer.Option(help="map, curves, histogram or correlation; default map where there is one")
    ] = None,
    colour: Annotated[str, typer.Option(help="what a map's colours tell: region or correctness")] = "region",
    dark: Annotated[bool, typer.Option("--dark", help="a PNG in dark colours; the others follow the reader")] = False,
    as_json: Json = False,
) -> None:
    """Draw a pool's signals: data map, curves over passes, histograms by source, or how they correlate.

    A map of many records shows 2,000 of them, drawn at random; pointing at one shows its id and how its text begins.

    Example: tilth plot build/recipe cartography --out map.html
    """
    from tilth.plot import plot as draw

    told = draw(pool, signal, out, kind, colour, dark)
    _emit(told, as_json, told["picture"])


@app.command(name="list")
def list_(
    noun: Annotated[
        str, typer.Argument(help="signals, policies, transforms, proofs, probes or claims; all when empty")
    ] = "",
    as_json: Json = False,
) -> None:
    """List the methods, and the papers' claims that can be run.

    Example: tilth list policies
    """
    from tilth import catalog

    if noun and noun not in (*catalog.NOUNS, "claims"):
        raise UsageError(f"There are {', '.join(catalog.NOUNS)} and claims. Got {noun!r}.")
    rows = [
        {"name": name, "noun": kind, "what": _first_sentence(catalog.find(name).__doc__)}
        for name, module in catalog.names().items()
        if noun in ("", kind := module.split(".")[1])
    ]
    if noun in ("", "claims"):
        told = {name: ast.get_docstring(ast.parse(file.read_text())) for name, file in _claims().items()}
        rows += [{"name": name, "noun": "claims", "what": _first_sentence(text)} for name, text in told.items()]
    _emit(rows, as_json, "\n".join(f"{r['name']:30} {r['noun']:10} {r['what']}" for r in rows))


def _first_sentence(text: str | None) -> str:
    paragraph = " ".join((text or "").strip().split("\n\n")[0].split())
    return re.split(r"(?<=[a-z0-9)\]`]\.) (?=[A-Z])", paragraph)[0]


def _claims() -> dict[str, Path]:
    files = sorted((Path(__file__).parent / "claims").glob("*.py"))
    return {file.stem: file for file in files if not file.stem.startswith("_")}


@app.command()
def show(
    method: Annotated[str, typer.Argument(help="a method's name, see `tilth list`")],
    as_json: Json = False,
) -> None:
    """Show a method: what it does, its fields with ranges, its columns, its paper.

    Example: tilth show minhash
    """
    from tilth import catalog
    from tilth.explain import describe_method

    cls = catalog.find(method)
    _emit(cls.model_json_schema(), as_json, describe_method(cls))


@app.command()
def probe(
    name: Annotated[str, typer.Argument(help="a probe's name, see `tilth list probes`")],
    fields: Annotated[
        list[str] | None, typer.Argument(help="its fields, such as words=50; see `tilth show NAME`", show_default=False)
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="records")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="write the world into this folder: its pools as JSONL, truth included")
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a world whose truth is known, to try a method on.

    With --out its pool is written as pool.jsonl, its goal, where it has one, as target.jsonl and holdout.jsonl, and
    each further pool, such as the questions about a text's facts, as more-NAME.jsonl.

    Example: tilth probe planted_mixture words=50 --size 2000 --out world
    """
    from tilth import catalog
    from tilth.core import Probe, Run
    from tilth.engine.local import write_atomic
    from tilth.recipe import override

    cls = catalog.find(name)
    if not issubclass(cls, Probe):
        raise UsageError(f"{name!r} is a {cls.noun()}, not a probe. `tilth list probes` lists them.")
    if out and out.exists() and not out.is_dir():
        raise UsageError(f"--out names a folder, one file for each of the world's pools; {out} is a file.")
    spec: dict[str, Any] = {}
    for change in fields or ():
        override(spec, change)
    world = cls(**spec).build(size, Run(seed=seed))
    pools = {"pool": world.pool}
    if world.goal is not None:
        pools |= {"target": world.goal.target, "holdout": world.goal.holdout}
    pools |= {f"more-{key}": pool for key, pool in world.more.items()}
    for key, pool in pools.items():
        if out:
            rows = pool.table(pool.schema.names).to_pylist()
            lines = "".join(json.dumps(r, ensure_ascii=False, default=str) + "\n" for r in rows)
            write_atomic(out / f"{key}.jsonl", lines.encode())
    info = {
        "probe": name,
        "records": world.pool.count,
        "kind": world.pool.kind,
        "columns": world.pool.schema.names,
        "first": world.pool.take(range(min(3, world.pool.count)), world.pool.schema.names).to_pylist(),
        "budget": str(world.goal.budget) if world.goal else None,
        "pools": {
            key: {"records": p.count, "kind": p.kind, "file": str(out / f"{key}.jsonl") if out else None}
            for key, p in pools.items()
        },
    }
    _emit(info, as_json, json.dumps(info, indent=1, default=str, ensure_ascii=False))


@app.command()
def claim(
    name: Annotated[str, typer.Argument(help="a claim's name; empty lists them")] = "",
    data: Annotated[Path | None, typer.Option(envvar="TILTH_DATA", help="folder with the published data")] = None,
    as_json: Json = False,
) -> None:
    """Reproduce what a paper found: the paper's number beside ours.

    Example: tilth claim liu2024_regmix --data data
    """
    import importlib

    known = [*_claims()]
    if not name:
        _emit(known, as_json, "\n".join(known))
        return
    if name not in known:
        raise UsageError(f"No claim is called {name!r}. There are {', '.join(known)}.")
    rows = importlib.import_module(f"tilth.claims.{name}").run(data)
    _emit(rows, as_json, _markdown(rows))


def _markdown(rows: list[dict[str, Any]]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([str(r[h]) for h in head] for r in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


mixture_app = typer.Typer(
    name="mixture",
    help="Mixtures whose trials ran elsewhere: fit losses to ratios, predict, propose, write weights for a trainer.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(mixture_app)
Ratios = Annotated[Path, typer.Option(help="CSV with a column per domain, one row per run", show_default=False)]
FitFolder = Annotated[Path, typer.Argument(help="a folder that `tilth mixture fit` made", show_default=False)]
FormName = Annotated[str, typer.Option(help="json, megatron, open-instruct or levanter")]
Prefix = Annotated[str, typer.Option(help="put before each name, such as data/")]


@mixture_app.command(name="fit")
def mixture_fit(
    ratios: Ratios,
    metrics: Annotated[Path, typer.Option(help="CSV with a column per metric, one row per run", show_default=False)],
    out: Annotated[Path, typer.Option(help="folder for the fit", show_default=False)],
    kind: Annotated[str, typer.Option(help="auto, ridge, trees, blend; laws: exponential, power, bilinear")] = "auto",
    as_json: Json = False,
) -> None:
    """Fit each metric of runs to their ratios; tells how well unseen runs are ranked.

    The tables are joined by their column `run` (or `index`, or the unnamed first one).

    Example: tilth mixture fit --ratios ratios.csv --metrics metrics.csv --out fit
    """
    from tilth import mixture
    from tilth.io.mixtures import read_table

    fitted, left = mixture.fit(read_table(ratios), read_table(metrics), kind)
    if left:
        _say(f"{len(left)} runs are in one table only and left out: {', '.join(left[:5])}{' ...' * (len(left) > 5)}")
    told = fitted.save(out)
    wide = max([6, *(len(name) for name in told["metrics"])])
    lines = [f"{told['runs']} runs of {len(told['domains'])} domains", f"{'':{wide}} {'rank':>6} {'error':>10}  range"]
    for name, row in told["metrics"].items():
        line = f"{name:{wide}} {row['rank_agreement']:>6.3f} {row['mean_error']:>10.4g}"
        line += f"  {row['min']:.4g} to {row['max']:.4g}"
        lines.append(line + ("  do not trust it" if row["rank_agreement"] < 0.5 else ""))
    _emit(told, as_json, "\n".join(lines))


@mixture_app.command(name="predict")
def mixture_predict(
    folder: FitFolder,
    ratios: Ratios,
    out: Annotated[Path, typer.Option(help="CSV to write", show_default=False)],
) -> None:
    """Predict the metrics of other mixtures.

    Example: tilth mixture predict fit --ratios more.csv --out predicted.csv
    """
    from tilth.io.mixtures import read_table, write_table
    from tilth.mixture import Fit

    predicted = Fit.load(folder).predict(read_table(ratios))
    write_table(out, predicted)
    _say(f"{len(predicted.runs)} runs, {len(predicted.columns)} metrics: {out}")


@mixture_app.command(name="propose")
def mixture_propose(
    folder: FitFolder,
    goal: Annotated[list[str], typer.Option(help="a metric, or METRIC=WEIGHT; may be repeated", show_default=False)],
    floor: Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, the least; may be repeated")] = None,
    ceiling: Annotated[list[str] | None, typer.Option(help="DOMAIN=SHARE, the most; may be repeated")] = None,
    kl: Annotated[float | None, typer.Option(help="most KL(mixture || natural shares), in nats")] = None,
    tokens: Annotated[Path | None, typer.Option(help="JSON: domain -> tokens there are; gives natural shares")] = None,
    budget: Annotated[
        str | None, typer.Option(help="tokens to be read, such as 20B; bounds shares by --repeats")
    ] = None,
    repeats: Annotated[float | None, typer.Option(help="most epochs of a domain; needs --tokens and --budget")] = None,
    highest: Annotated[bool, typer.Option(help="larger metrics are better")] = False,
    form: FormName = "json",
    prefix: Prefix = "",
    out: Annotated[Path | None, typer.Option(help="file to write; standard output when absent")] = None,
) -> None:
    """Propose the mixture that is best for a goal, within limits.

    Example: tilth mixture propose fit --goal wiki_loss --floor code=0.1 --kl 0.5
    """
    from tilth.core import Budget, Limits
    from tilth.mixture import Fit, pairs

    natural = None if tokens is None else _token_counts(tokens)
    limits = Limits(repeats, kl, pairs(floor or [], "floor"), pairs(ceiling or [], "ceiling"))
    amount = None if budget is None else Budget.parse(budget).amount
    found = Fit.load(folder).propose(pairs(goal, "goal"), limits, natural, amount, highest=highest)
    _say(f"expected {found.predicted:.4g}; natural shares {found.natural:.4g}; best run tried {found.best_run:.4g}")
    _write_mixture(found.shares, form, prefix, out)


@mixture_app.command(name="write")
def mixture_write(
    folder: Annotated[Path, typer.Argument(help="a build's folder, or one with plan.json", show_default=False)],
    form: FormName = "json",
    prefix: Prefix = "",
    out: Annotated[Path | None, typer.Option(help="file to write; standard output when absent")] = None,
) -> None:
    """Write a plan's realised mixture of sources as weights for a trainer.

    Example: tilth mixture write build/recipe --form megatron --prefix data/
    """
    from tilth.core import Plan

    plan = Plan.load(folder if (folder / "plan.json").exists() else folder / "plan")
    _write_mixture(plan.mixture(), form, prefix, out)


def _write_mixture(shares: Mapping[str, float], form: str, prefix: str, out: Path | None) -> None:
    from tilth.core.files import write_atomic
    from tilth.io.mixtures import FORMS, render

    chosen = next((known for known in FORMS if known == form), None)
    if chosen is None:
        raise UsageError(f"--form is {', '.join(FORMS)}. Got {form!r}.")
    text = render(shares, chosen, prefix)
    if out is None:
        sys.stdout.write(text)
    else:
        write_atomic(out, text.encode())


def _token_counts(path: Path) -> dict[str, float]:
    try:
        given = json.loads(path.read_text())
        return {str(name): float(count) for name, count in given.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"--tokens is a JSON file that maps each domain to its tokens ({path}: {error}).") from None


@app.command()
def init(
    paths: Annotated[list[str], typer.Argument(help="files, folders or globs", show_default=False)],
    budget: Annotated[str, typer.Option(help="such as 20M tokens")] = "1M tokens",
) -> None:
    """Write a commented recipe for the files given, on standard output.

    Example: tilth init data/*.jsonl.zst > recipe.yaml
    """
    from tilth.starter import starter

    sys.stdout.write(starter(paths, budget))


def main() -> NoReturn:
    """Entry point: runs a verb and turns errors into one line and an exit code."""
    try:
        app(standalone_mode=False)
    except TilthError as error:
        _say(f"tilth: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("tilth: interrupted; run the same command again to resume")
        sys.exit(130)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
        if callable(show) and isinstance(code, int):  # click's own errors; some versions of typer vendor click
            show()
            sys.exit(code)
        if isinstance(error, OSError) and error.errno == 28:
            _say(f"tilth: the disk is full ({error.filename}). Free some space and run the same command again.")
            sys.exit(4)
        raise
    sys.exit(0)
