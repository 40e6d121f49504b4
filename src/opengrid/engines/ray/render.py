"""A gang as a job of Ray's: the request to its Jobs API, as a value. Pure.

Nothing in it is secret: Ray shows entrypoints to whoever may read its API. The driver that the job starts is known by
what it writes to the job's own log, and gets the token for its agents over our API; see inside/driver.py.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from opengrid.core.gang import Bundle
from opengrid.engines.engine import Submission
from opengrid.engines.ray.inside.marks import NEVER

#: Fetches the program from the server, checks that it is the one that was meant, and runs the driver in it. Its
#: certificate need not be checked for that: the digest comes by another way. It lies in memory: however the driver
#: ends, nothing is left on the head's disk.
_BOOT = """\
import hashlib, os, ssl, sys, urllib.request as r
url, digest = sys.argv[1:3]
host = url.split("/")[2].rpartition(":")[0]
near = r.ProxyHandler({}) if host in ("127.0.0.1", "localhost", "[::1]") else r.ProxyHandler()
program = r.build_opener(near, r.HTTPSHandler(context=ssl._create_unverified_context())).open(url, timeout=60).read()
if hashlib.sha256(program).hexdigest() != digest: sys.exit("the program from " + url + " is not what it should be")
file = "/proc/self/fd/%d" % os.memfd_create("opengrid")
with open(file, "wb") as f: f.write(program)
sys.path.insert(0, file)
"""

#: What the program does then. An interpreter without Ray, or too old for us, will be that the next time, too.
_MAIN = """\
try:
    from opengrid.engines.ray.inside.{module} import main
except (ImportError, SyntaxError) as error:
    print("the cluster's head cannot run the driver with {{}}: {{}}".format(sys.executable, error), file=sys.stderr)
    sys.exit({never})
sys.exit(main(sys.argv[2:]))
"""
_DRIVER, _CHECK = (_MAIN.format(module=module, never=NEVER) for module in ("driver", "check"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The zipapp that drivers and agents are, and where machines find it."""

    url: str
    digest: str  #: SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """How machines of a cluster reach this server."""

    url: str
    certificate: str | None  #: PEM, when it is no public authority's


def job_of(
    submission: Submission, *, program: Program, home: Home, work_dir: str, python: str | None
) -> dict[str, object]:
    """Return the job that starts a gang: on the head, without resources of its own."""
    bundles = json.dumps([resources_of(agent.bundle) for agent in submission.agents])
    arguments = [home.url, submission.attempt_id, work_dir, bundles]
    return _job(submission.attempt_id, _DRIVER, program, home, arguments, python, about=submission.attempt_id)


def check_of(id: str, *, program: Program, home: Home, work_dir: str, python: str | None) -> dict[str, object]:
    """Return the job that asks every node about itself."""
    return _job(id, _CHECK, program, home, [home.url, work_dir, python or ""], python, about="check")


def _job(
    id: str, code: str, program: Program, home: Home, arguments: list[str], python: str | None, *, about: str
) -> dict[str, object]:
    job: dict[str, object] = {
        "submission_id": id,
        "entrypoint": _entrypoint(code, program, arguments, python),
        "metadata": {"opengrid": about},
    }
    if home.certificate is not None:
        job["runtime_env"] = {"env_vars": {"OPENGRID_CERTIFICATE": home.certificate}}
    return job


def _entrypoint(code: str, program: Program, arguments: list[str], python: str | None) -> str:
    interpreter = shlex.quote(python) if python else '"$(command -v python || command -v python3)"'
    return f"exec {interpreter} -c {shlex.join([_BOOT + code, program.url, program.digest, *arguments])}"


def resources_of(bundle: Bundle) -> dict[str, float]:
    """Return a bundle in Ray's words."""
    resources: dict[str, float] = {"CPU": bundle.cpus}
    if bundle.gpus:
        resources["GPU"] = bundle.gpus
    # What only tells machines apart: so little of it that any number of gangs can have it.
    if bundle.accelerator:
        resources[f"accelerator_type:{bundle.accelerator}"] = 0.001
    if bundle.market:
        resources[bundle.market] = 0.001
    return resources
