"""``tournament.html``: one self-contained file with the tournament's table, its intervals and its costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tilth.engine.local import write_atomic
from tilth.engine.tournament import Tournament
from tilth.report import charts
from tilth.report.markup import Markup, el, shown
from tilth.report.page import document
from tilth.report.parts import NAME, SENTENCE, as_yaml, fold, note, p_value, section, table

if TYPE_CHECKING:
    from tilth.contest import Contest

__all__ = ["render_tournament", "write_tournament"]

TONES = {"better": "good", "worse": "bad"}
CONTENTS = {"result": "Result", "table": "Table", "trust": "Before believing it", "missing": "Not in the table",
            "policies": "Who took part"}  # fmt: skip


def write_tournament(contest: Contest, found: Tournament) -> Path:
    """Write ``tournament.html`` into the build's folder."""
    path = contest.build.out / "tournament.html"
    shared = [policy.describe() for policy in contest.shared_policies]
    write_atomic(path, render_tournament(found, shared).encode("utf-8"))
    return path


def render_tournament(found: Tournament, shared: list[dict[str, object]]) -> str:
    """The page as one HTML document: no script, no network, no path of this machine."""
    links = el("nav", [el("a", name, href=f"#{anchor}") for anchor, name in CONTENTS.items()], aria_label="Sections")
    candidates = len(found.adjusted)
    about = f"{candidates} candidates and {len(found.baselines)} baselines, each with a budget of {found.budget}"
    header = el("header", el("h1", "tilth tournament"), el("p", about), links)
    return document("tilth tournament", header, el("main", [
        _result(found), _table(found), section("trust", CONTENTS["trust"], _list(found.trust())),
        _missing(found), _policies(found, shared),
    ]))  # fmt: skip


def _list(lines: list[str]) -> Markup:
    return el("ul", [el("li", line) for line in lines])


def _result(found: Tournament) -> Markup:
    first = found.ranking[0] if found.comparisons else ""
    tone = TONES.get(found.call(first), "even") if first else "even"
    headline = el("p", shown(found.headline, 4 * SENTENCE), class_=f"headline {tone}")
    if not first:
        return section("result", CONTENTS["result"], headline)
    rows = [
        charts.Interval(n, c.effect, c.low, c.high, found.call(n))
        for n in found.ranking for c in [found.comparisons[n]]
    ]  # fmt: skip
    return section(
        "result", CONTENTS["result"], headline,
        charts.forest("Each candidate against the best uninformed baseline", rows, found.unit,
                      f"{shown(found.reference, 24)} is better", "candidate is better", before=""),
        note("Each line is the baseline's loss minus the candidate's, paired by seed and holdout item, with its 95 % "
             "interval. A line that crosses zero shows no difference."),
    )  # fmt: skip


def _table(found: Tournament) -> Markup:
    seconds, rows, costs = found.seconds(), [], []
    for row in found.table():
        name = row["name"]
        cost = [row["records"], row["amount"], f"{seconds[name]:.1f}"]
        if "effect" in row:
            call = row["it_is"]
            middle: list[object] = [
                f"{row['loss']:.4f}", f"{row['effect']:+.4f}", f"[{row['low']:+.4f}, {row['high']:+.4f}]",
                p_value(row["p_adjusted"]), el("span", call, class_=f"call {TONES.get(call, 'even')}"),
            ]  # fmt: skip
        elif row["baseline"]:
            best = "best baseline" if name == found.reference else "baseline"
            middle = [f"{row['loss']:.4f}", "", "", "", best]
        else:
            middle = [f"{row['loss_there']:.4f}", "", "", "", f"out in round {row['out_in_round']}, at "
                      f"{row['scale_there']} of the scale"]  # fmt: skip
        speed = [row.get("tokens_to_reach", ""), f"{row['profile']:.2f}" if "profile" in row else ""]
        rows.append([shown(name, NAME), *middle])
        costs.append([shown(name, NAME), *cost, *(speed if found.profiles else [])])
    heads = ["policy", f"loss ({found.unit})", "gain", "95 % interval", "adjusted p", "it is"]
    cost_heads = ["policy", "records", "amount read", "seconds to plan"]
    if found.profiles:
        cost_heads += [f"tokens to reach {shown(found.reference, 24)}", "profile"]
    curves = found.evidence.mean_curves()
    return section(
        "table", CONTENTS["table"], table(heads, rows, "All plans, best first"),
        table(cost_heads, costs, "What they read, and what they cost"),
        charts.lines("Loss over tokens read", curves, "tokens read", found.unit, found.ranking[0], found.reference)
        if found.profiles and found.ranking else None,
        note("The profile is the area under a plan's performance profile over the goals: 1 is the fastest everywhere "
             "to the reference's final loss, 0 never gets there within 4 times the fastest plan's tokens.")
        if found.profiles else None,
        charts.bars("Seconds to plan", {n: (seconds[n],) for n in found.ranking}, ["seconds to plan"], " s")
        if found.comparisons else None,
        note("Seconds are what making each plan took on the machine that made it; everything else repeats exactly."),
    )  # fmt: skip


def _missing(found: Tournament) -> Markup:
    if not found.missing:
        return section("missing", CONTENTS["missing"], note("Nobody: every policy that was asked for was tried."))
    rows = [[shown(name, NAME), shown(why, SENTENCE)] for name, why in found.missing.items()]
    return section("missing", CONTENTS["missing"], table(["policy", "why"], rows, "Not tried, with the reason"))


def _policies(found: Tournament, shared: list[dict[str, object]]) -> Markup:
    before = as_yaml(shared) if shared else note("Nothing: candidates and baselines start from the whole pool.")
    return section(
        "policies", CONTENTS["policies"], el("h3", "Applied first, for everyone"), before,
        [fold(shown(name, NAME), as_yaml([dict(p) for p in each])) for name, each in found.policies.items()],
    )  # fmt: skip
