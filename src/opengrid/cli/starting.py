"""What becomes of a request: its plan is shown, or it is started, and the command stays as long as it shall."""

from __future__ import annotations

from opengrid.cli.output import is_terminal, print_json, settings, tell
from opengrid.cli.plan_view import how_to_go_on, print_plan
from opengrid.cli.waiting import follow_run, wait_until_ended, wait_until_running
from opengrid.cli.wanted import Options
from opengrid.client.api import Api
from opengrid.client.request import start_run
from opengrid.core.sizes import size_text
from opengrid.core.spec import RunSpec
from opengrid.sdk.request import Request

#: Sending a tree of this size takes a moment that is worth a word.
_WORTH_TELLING = 32 << 20


def show_plan(api: Api, spec: RunSpec) -> int:
    """Print what a request would start."""
    plan = api.plan(spec)
    if settings().is_json:
        print_json({"run": None, "experiments": [], "plan": plan})
    else:
        print_plan(plan)
    return 0


def start(api: Api, request: Request, options: Options) -> int:
    """Start a run, and stay for as long as the options say; return the exit code."""
    if request.tree is None and request.spec.source.bundle is None:
        tell(f"fetching {request.spec.source.link} …")
    elif request.tree is not None and request.tree.size > _WORTH_TELLING:
        tell(f"packing and sending {size_text(request.tree.size)} …")
    created = start_run(api, request.spec, request.tree)
    name = str(created["run"])
    if settings().is_json:
        print_json(created)
    else:
        print_plan(created["plan"], run=name)
    if options.follow:
        return follow_run(api, name)
    if options.wait:
        return wait_until_ended(api, name)
    if not is_terminal() or options.detach or settings().is_json:
        if not settings().is_json:
            how_to_go_on(name)
        return 0
    code = wait_until_running(api, name)
    how_to_go_on(name)
    return code
