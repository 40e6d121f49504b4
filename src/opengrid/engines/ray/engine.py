"""Gangs as jobs of a Ray cluster: submitted, found again and watched through its REST API alone.

What the drivers inside tell (inside/driver.py) comes to `take_report`. A machine is gone when Ray says so: by the
driver, which saw its actor die, or because the whole job is over. Silence means nothing.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import structlog

from opengrid.core.errors import Conflict, GridError
from opengrid.core.protocol import GangReport, Ticket
from opengrid.core.records.clusters import Cluster
from opengrid.engines.engine import AgentProcess, EngineAway, GangRequest, Submission
from opengrid.engines.ray.gang_state import UNTOLD, GangState
from opengrid.engines.ray.inside.marks import ANSWERS, PROOF
from opengrid.engines.ray.jobs_api import HEAD_LOGS, NODE_LOGS, Job, JobsApi
from opengrid.engines.ray.parse import machines_of, named, possible_of
from opengrid.engines.ray.render import Home, Program, check_of, job_of
from opengrid.planning.catalogue import Catalogue
from opengrid.planning.fleet import Fleet, FleetMachine
from opengrid.planning.inventory import Interpreter
from opengrid.planning.node_logs import NodeLog

log = structlog.get_logger(__name__)

#: How often the cluster is asked for its jobs and nodes; while it does not answer; how long one waits for the first.
_LOOK_S, _AWAY_LOOK_S, _FIRST_LOOK_S = 1.0, 5.0, 10.0

#: Ray keeps the job of an ended attempt for so long.
_KEPT_JOB_S = 30.0

#: A check of all nodes may take so long, and is asked for this often.
_CHECK_S, _CHECK_LOOK_S = 60.0, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the cluster said at one moment."""

    at: float
    jobs: dict[str, Job]
    machines: tuple[FleetMachine, ...]


def greet(address: str, token: str | None) -> str:
    """Return the version of the Ray at an address; EngineAway, Unauthorized or Unusable say why there is none."""
    api = JobsApi(address, token)
    try:
        version = api.version()
        api.jobs()  # /api/version answers without a token, too
        return version
    finally:
        api.close()


class RayEngine:
    """The engine of one Ray cluster.

    `on_change` is called (from a thread of the engine) when something about its jobs or nodes changed; `orders_changed`
    with the id of an attempt whose driver has new orders.
    """

    name = "ray"

    def __init__(
        self,
        cluster: Cluster,
        token: str | None,
        *,
        catalogue: Catalogue,
        home: Callable[[], Home],
        program: Callable[[], Program],
        on_change: Callable[[], None],
        orders_changed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cluster, self._token, self._catalogue = cluster, token, catalogue
        self._home, self._program, self._clock = home, program, clock
        self._on_change, self._orders_changed = on_change, orders_changed
        self._watching, self._asking = JobsApi(cluster.address, token), JobsApi(cluster.address, token)
        self._asking_lock = threading.Lock()
        self._seen: _Seen | None = None
        self._problem: str | None = "it has not been asked yet"
        self._submitted: dict[str, float] = {}  #: when this server handed an attempt over
        self._gangs: dict[str, GangState] = {}
        self._over: dict[str, float | None] = {}  #: attempts of which Ray may forget the job, and since when it is over
        self._given_up: set[str] = set()  #: attempts whose jobs are to be stopped when the cluster answers again
        self._lock = threading.Lock()
        self._has_looked, self._closing = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name=f"ray-{cluster.name}", daemon=True).start()

    def inventory(self) -> Fleet:
        """Return the machines as they were a second ago."""
        self._has_looked.wait(_FIRST_LOOK_S)
        seen = self._seen.machines if self._seen is not None else ()
        machines = named(seen, self.cluster.possible, self._catalogue)
        return Fleet(
            cluster=self.cluster.name,
            machines=machines,
            possible=possible_of(self.cluster.possible, machines, self._catalogue),
            problem=self._problem,
        )

    def interpreter(self, python: str, shell: dict[str, str]) -> Interpreter:
        """Return the cluster's own interpreter: the user's is on another computer. What it has, its agents find out."""
        return Interpreter(path=self.cluster.python or "", version="", torch="")

    def render(self, request: GangRequest) -> Submission:
        """Return the tickets of a gang's agents, with what each reserves. Pure, but for this server's address."""
        url, state = self._home().url, f"{self.cluster.work_dir}/agents"
        return Submission(
            attempt_id=request.attempt_id,
            agents=tuple(
                AgentProcess(
                    machine=machine,
                    ticket=Ticket(
                        attempt_id=request.attempt_id, machine=machine, token=request.token, url=url, state_dir=state
                    ),
                    devices=(),
                    bundle=bundle,
                )
                for machine, bundle in enumerate(request.bundles)
            ),
        )

    def submit(self, submission: Submission) -> None:
        """Start a gang's driver; of a gang that has one, have it start the agents anew that are gone."""
        self._has_looked.wait(_FIRST_LOOK_S)
        if self._problem is not None:
            raise EngineAway(f"waits: the cluster {self.cluster.name} does not answer ({self._problem})")
        with self._asking_lock:
            job = self._asking.find(submission.attempt_id)
            if job is None and submission.attempt_id not in self._submitted:
                self._post(submission)
                self._submitted[submission.attempt_id] = self._clock()
                return
        if job is None or job.is_over:
            raise Conflict(f"Ray has ended the job of attempt {submission.attempt_id}; it gets no more machines")
        with self._lock:
            gang = self._gangs.setdefault(submission.attempt_id, GangState())
            for agent in submission.agents:
                gang.start_anew(agent.machine)
        self._orders_changed(submission.attempt_id)

    def _post(self, submission: Submission) -> None:
        home, program = self._home(), self._program()
        cluster = self.cluster
        job = job_of(submission, program=program, home=home, work_dir=cluster.work_dir, python=cluster.python)
        try:
            self._asking.submit(job)
        except EngineAway:
            raise
        except GridError:  # perhaps because an earlier call, whose answer never came, was just being carried out
            if self._asking.find(submission.attempt_id) is None:
                raise

    def gone(self, attempts: Sequence[tuple[str, int]]) -> dict[str, frozenset[int]]:
        """For each (attempt id, number of machines) return the machines that Ray says are gone."""
        with self._lock:
            return {
                attempt: frozenset(range(machines))
                if self._is_over(attempt)
                else self._gangs.get(attempt, UNTOLD).gone()
                for attempt, machines in attempts
            }

    def is_new_boot(self, attempt_id: str) -> bool:
        """Return False: a machine of a cluster that was restarted is a lost one."""
        return False

    def is_over(self, attempt_id: str) -> bool:
        """Return whether the job of an attempt has ended, by the loss of the cluster's head for one."""
        with self._lock:
            return self._is_over(attempt_id)

    def _is_over(self, attempt_id: str) -> bool:
        seen = self._seen
        if attempt_id in self._given_up:
            return True
        if seen is None:
            return False
        job = seen.jobs.get(attempt_id)
        if job is None:  # a head that was restarted remembers nothing
            return self._problem is None and seen.at > self._submitted.get(attempt_id, float("-inf"))
        return job.is_over

    def cannot_start(self, attempt_id: str) -> bool:
        """Return whether drivers of this cluster cannot run at all, as with an interpreter without Ray."""
        with self._lock:
            job = self._seen.jobs.get(attempt_id) if self._seen is not None else None
        return job is not None and job.cannot_run

    def last_words(self, attempt_id: str, machine: int) -> str:
        """Return what the driver last told of a machine, or Ray of the driver."""
        with self._lock:
            told = self._gangs.get(attempt_id, UNTOLD).report
            job = self._seen.jobs.get(attempt_id) if self._seen is not None else None
        if told is not None and machine < len(told.gone) and (words := told.gone[machine]) is not None:
            return words
        if job is not None and job.has_no_interpreter:  # which the shell does not always get to say
            return f"the cluster's head has no {self.cluster.python or 'python'} that would run the driver"
        return job.last_words if job is not None else ""

    def cancel(self, attempt_id: str, machines: int) -> None:
        """Have Ray end the driver, with which its agents end.

        When the cluster does not answer, or not as it should, the attempt is given up at once, because somebody says
        so; Ray is told later.
        """
        try:
            with self._asking_lock:
                self._asking.stop(attempt_id)
        except GridError as error:
            log.warning("an attempt is given up", cluster=self.cluster.name, attempt=attempt_id, error=error.message)
            with self._lock:
                self._given_up.add(attempt_id)

    def forget(self, attempt_id: str) -> None:
        """Drop what is remembered of an attempt that has ended; Ray is told to forget its job when that has."""
        with self._lock:
            self._gangs.pop(attempt_id, None)
            self._over[attempt_id] = None
        self._orders_changed(attempt_id)

    def check(self) -> list[dict[str, object]]:
        """Return what every node says about itself: a job asks them. Blocks for seconds."""
        id = f"check-{secrets.token_hex(6)}"
        api = JobsApi(self.cluster.address, self._token)
        try:
            api.version()
            program, home, cluster = self._program(), self._home(), self.cluster
            api.submit(check_of(id, program=program, home=home, work_dir=cluster.work_dir, python=cluster.python))
            job, deadline = None, self._clock() + _CHECK_S
            while job is None or not job.is_over:
                if self._clock() > deadline:
                    api.stop(id)
                    raise GridError(f"the nodes of {self.cluster.name} did not all answer within {_CHECK_S:g} s")
                time.sleep(_CHECK_LOOK_S)
                job = api.find(id)
            lines = api.log(id).splitlines()
        finally:
            api.close()
            with self._lock:
                self._over[id] = None  # of an attempt or not: Ray shall forget it, too
        answers = next((line for line in reversed(lines) if line.startswith(ANSWERS)), None)
        if answers is None:
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
            raise GridError(
                f"the check of {self.cluster.name} failed: {last}",
                hint="its head runs it with --python, else with the `python` of Ray's PATH: has that one Ray?",
            )
        return cast("list[dict[str, object]]", json.loads(answers.removeprefix(ANSWERS)))

    def logs(self, limit: int) -> list[NodeLog]:
        """Return the last lines that Ray itself wrote on each node, through its API. Blocks for seconds."""
        api = JobsApi(self.cluster.address, self._token)
        try:
            return [
                NodeLog(
                    host=node.address,
                    file=file,
                    lines=api.node_log(node.id, file, limit),
                    utc_offset_s=time.localtime().tm_gmtoff,  # what the nodes' clocks say, Ray does not tell
                )
                for node in api.nodes()
                for file in (*NODE_LOGS, *(HEAD_LOGS if node.is_head else ()))
            ]
        finally:
            api.close()

    def close(self) -> None:
        """Stop watching. Drivers and agents go on."""
        self._closing.set()

    # What drivers ask, through the server

    def is_driver(self, attempt_id: str, secret_hash: str) -> bool:
        """Return whether who has this secret is the driver of an attempt: its job's own log says so. Asks Ray."""
        with self._asking_lock:
            lines = self._asking.log(attempt_id).splitlines()
        proofs = [line.removeprefix(PROOF).strip() for line in lines if line.startswith(PROOF)]
        return any(hmac.compare_digest(proof, secret_hash) for proof in proofs)

    def starts(self, attempt_id: str, machines: int) -> tuple[int, ...]:
        """Return how often the agent of each machine shall have been started."""
        with self._lock:
            return self._gangs.get(attempt_id, UNTOLD).starts(machines)

    def has_report(self, attempt_id: str) -> bool:
        """Return whether a gang's driver has told this server how it stands."""
        with self._lock:
            return self._gangs.get(attempt_id, UNTOLD).report is not None

    def take_report(self, attempt_id: str, report: GangReport) -> None:
        """Take in how a gang stands."""
        with self._lock:
            self._gangs.setdefault(attempt_id, GangState()).take(report)
        self._orders_changed(attempt_id)

    def _watch(self) -> None:
        while not self._closing.is_set():
            before = (self._seen.jobs, self._seen.machines) if self._seen is not None else None
            problem_before = self._problem
            self._look()
            self._has_looked.set()
            after = (self._seen.jobs, self._seen.machines) if self._seen is not None else None
            if after != before or self._problem != problem_before:
                self._on_change()
            self._closing.wait(_LOOK_S if self._problem is None else _AWAY_LOOK_S)

    def _look(self) -> None:
        asked_at = self._clock()
        try:
            if self._problem is not None:
                self._watching.version()
            jobs = {job.id: job for job in self._watching.jobs()}
            machines = machines_of(self._watching.nodes())
            self._stop_given_up(jobs)
            self._forget_jobs(jobs)
        except GridError as error:
            if error.message != self._problem:
                log.warning("a cluster does not answer", cluster=self.cluster.name, error=error.message)
            self._problem = error.message
            return
        except Exception as error:  # the thread's edge: whatever a foreign server answers must not end it
            log.exception("cannot read a cluster's answer", cluster=self.cluster.name)
            self._problem = f"its answer is not understood: {error}"
            return
        with self._lock:
            self._seen = _Seen(at=asked_at, jobs=jobs, machines=machines)
            self._problem = None

    def _stop_given_up(self, jobs: dict[str, Job]) -> None:
        with self._lock:
            given_up = set(self._given_up)
        for attempt in given_up:
            job = jobs.get(attempt)
            if job is not None and not job.is_over:
                self._watching.stop(attempt)
            else:
                with self._lock:
                    self._given_up.discard(attempt)

    def _forget_jobs(self, jobs: dict[str, Job]) -> None:
        """Have Ray forget the jobs of attempts that are over, a while after they ended: it writes last words then."""
        with self._lock:
            over = dict(self._over)
        for attempt, since in over.items():
            job = jobs.get(attempt)
            if job is not None and not job.is_over:
                continue  # its driver is about to hear that there is nothing to do any more
            if since is None:
                with self._lock:
                    self._over[attempt] = self._clock()
            elif self._clock() - since > _KEPT_JOB_S:
                if job is not None:
                    self._watching.delete(attempt)
                with self._lock:
                    self._over.pop(attempt, None)
                    self._submitted.pop(attempt, None)
