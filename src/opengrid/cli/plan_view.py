"""A plan, and what to do next, as people read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opengrid.cli.output import bold, plural, wrapped

if TYPE_CHECKING:
    from opengrid.client.documents import PlanDocument


def print_plan(plan: PlanDocument, run: str | None = None) -> None:
    """Print a plan, and the name of the run that it became."""
    for line in plan_lines(plan, run):
        click.echo(line)


def plan_lines(plan: PlanDocument, run: str | None) -> list[str]:
    """Return a plan as lines of at most 80 columns, paths excepted."""
    parts = [
        ("run", bold(run)) if run else ("plan", "dry run: nothing is started"),
        *([("sweep", f"{plan['experiments']:,} experiments, each as follows")] if plan["experiments"] != 1 else []),
        ("machines", machines_text(plan)),
        ("layout", layout_text(plan)),
        ("code", plan["source"]),
        *(("data", mount["text"]) for mount in plan.get("mounts", [])),
        ("python", plan["python"] or "-"),
        *([("packages", plan["packages"])] if plan["packages"] else []),
        ("price", price_text(plan)),
    ]
    lines = [f"{title:<9} {text}" for title, text in parts]
    if plan["reason"]:
        lines += wrapped(plan["reason"], 80, first="note      ", more=" " * 10)
    return lines


def machines_text(plan: PlanDocument) -> str:
    """Return `2 × 4_v100_16gb (SIMULATED)`."""
    cluster = plan.get("cluster", "local")
    owner = "this computer" if cluster == "local" else cluster
    kind = owner if plan["instance_type"] == "local" else plan["instance_type"]
    real = f" (SIMULATED on {owner}'s CPUs)" if plan["simulated"] else ""
    if plan["devices"]:
        whose = "" if cluster == "local" or kind == owner else f" of {owner}"
        real = f" (on {plan['devices']}{whose})"
    return f"{plan['machines']} × {kind}{real}"


def layout_text(plan: PlanDocument) -> str:
    """Return `2 nodes × 4 GPUs, 8 CPUs each; 8 ranks`."""
    share = [plural(plan["gpus_per_node"], "GPU")] if plan["gpus_per_node"] else []
    share.append(plural(plan["cpus_per_node"], "CPU"))
    each = " each" if plan["nodes"] > 1 else ""
    return f"{plural(plan['nodes'], 'node')} × {', '.join(share)}{each}; {plural(plan['world_size'], 'rank')} in all"


def price_text(plan: PlanDocument) -> str:
    """Return what the machines cost in a shop, and that these cost nothing."""
    if not plan["price_per_hour"]:
        return "nothing: this computer is yours" if plan.get("cluster", "local") == "local" else "none is known"
    why = "simulated machines" if plan["simulated"] else "your own machines"
    price, count = plan["price_per_hour"], plan["experiments"]
    total = f", ${price * count:,.2f} for all {count:,} at once" if count > 1 else ""
    return f"nothing: {why} (list price ${price:.2f} per hour{total})"


def how_to_go_on(run: str) -> None:
    """Print the commands that are of use now."""
    click.echo(f"\n  grid status {run}\n  grid logs -f {run}-exp0\n  grid stop run {run}")
