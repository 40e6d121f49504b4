"""The composition root: everything that makes one server, put together."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from opengrid import __version__
from opengrid.blobs.blobs import Blobs
from opengrid.blobs.folder import FolderBlobs
from opengrid.client.program import shell_variables
from opengrid.client.remote import Access
from opengrid.controller.admission import Admission
from opengrid.controller.building import Building
from opengrid.controller.gangs import Gangs
from opengrid.controller.limits import Limits
from opengrid.controller.loop import Controller
from opengrid.core.disks import DiskGuard
from opengrid.core.protocol import PROTOCOL
from opengrid.core.records import LOCAL_CLUSTER, Attempt, Run
from opengrid.core.tokens import new_token, token_hash
from opengrid.engines.engine import Engines
from opengrid.engines.local.engine import LocalEngine
from opengrid.engines.local.processes import boot_id
from opengrid.engines.ray.engine import RayEngine, greet
from opengrid.engines.ray.hosts import TESTED_RAY, Hosts, check_python, living
from opengrid.engines.ray.jobs_api import HEAD_LOGS, NODE_LOGS
from opengrid.engines.ray.render import Program
from opengrid.engines.ray.ssh import Ssh, parse_host
from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.pruning import Bounds
from opengrid.server import problems
from opengrid.server.accounts_api import accounts_api
from opengrid.server.admin_api import admin_api
from opengrid.server.agent_api import agent_api
from opengrid.server.agent_artifacts_api import agent_artifacts_api
from opengrid.server.agent_data_api import agent_data_api
from opengrid.server.artifacts_api import artifacts_api
from opengrid.server.auth import Browsers, Users
from opengrid.server.build_logs_api import build_logs_api
from opengrid.server.clusters_api import clusters_api
from opengrid.server.data_api import data_api
from opengrid.server.driver_api import driver_api
from opengrid.server.log_window_api import log_window_api
from opengrid.server.logs_api import logs_api
from opengrid.server.machines_api import machines_api
from opengrid.server.new_run_api import new_run_api
from opengrid.server.pages import BUILT, pages
from opengrid.server.presence import Presence, write_private
from opengrid.server.reach import Reach
from opengrid.server.rehearsals_api import rehearsals_api
from opengrid.server.runs_api import runs_api
from opengrid.server.scalars_api import scalars_api
from opengrid.server.secrets_api import secrets_api
from opengrid.server.sessions_api import sessions_api
from opengrid.server.settings import Settings
from opengrid.server.stacks_api import stacks_api
from opengrid.server.stream import Stream
from opengrid.server.stream_api import stream_api
from opengrid.server.tensorboard_api import tensorboard_api
from opengrid.server.wakeups import Wakeups
from opengrid.server.zipapp import Zipapp
from opengrid.services.accounts import Accounts
from opengrid.services.agents import Agents
from opengrid.services.artifacts import Artifacts
from opengrid.services.assignments import Assignments
from opengrid.services.checkpoints import Checkpoints
from opengrid.services.cluster_starts import ClusterStarts
from opengrid.services.cluster_templates import ClusterTemplates
from opengrid.services.clusters import Clusters
from opengrid.services.data_shipping import DataShipping
from opengrid.services.datastores import Datastores
from opengrid.services.documents import ErrorDocument
from opengrid.services.drivers import Drivers
from opengrid.services.environments import Environments
from opengrid.services.event_files import EventFiles
from opengrid.services.experiments import Experiments
from opengrid.services.feeds import (
    CHANGES,
    SAMPLES,
    Feed,
    HintFeed,
    LogsFeed,
    RunFeed,
    RunsFeed,
    artifacts_version,
    experiment_version,
    machines_version,
    samples_version,
    scalars_version,
)
from opengrid.services.hosts import HostClusters
from opengrid.services.imports import Imports
from opengrid.services.instance_types import instance_type_rows
from opengrid.services.links import Links
from opengrid.services.log_files import LogFiles
from opengrid.services.logs import Logs
from opengrid.services.machines import Machines
from opengrid.services.new_run import NewRuns
from opengrid.services.references import ForeignBucket
from opengrid.services.rehearsals import Rehearsals
from opengrid.services.run_records import RunRecords
from opengrid.services.runs import Runs
from opengrid.services.samples import Samples
from opengrid.services.scalar_reader import ScalarReader
from opengrid.services.scalars import Scalars
from opengrid.services.secrets import Secrets, new_key
from opengrid.services.sharing import Sharing
from opengrid.services.sign_in import SignIn
from opengrid.services.sources import Sources
from opengrid.services.stacks import StackRequests
from opengrid.services.table import Table
from opengrid.services.tensorboards import TensorBoards
from opengrid.store.database import Database, Transaction
from opengrid.store.runs import RunFilter

log = structlog.get_logger(__name__)

_DAY_S = 24 * 3600.0

#: When caches are looked through: the first time when the start is over.
_PRUNE_FIRST_S, _PRUNE_EVERY_S = 60.0, 3600.0


def now_us() -> int:
    """Return microseconds since the epoch."""
    return time.time_ns() // 1000


class Server:
    """One server: its parts, its application, and what it says about itself."""

    def __init__(self, settings: Settings, database: Database, url: str, stop: Callable[[], None]) -> None:
        #: How this host reaches the server, and how everybody does.
        self._own_url, self.url = url, settings.public_url or url
        self.settings = settings
        self._started_us, self._last_request = now_us(), time.monotonic()
        self._database, self._stop = database, stop
        self.wakeups, self._presence = Wakeups(), Presence(settings)
        state = settings.state
        zipapp = Zipapp(settings.cache)
        blobs = open_blobs(settings, "blobs", state / "blobs")
        log_files = LogFiles(state / "logs")
        local = LocalEngine(
            state,
            server_file=settings.server_file,
            zipapp=zipapp.path,
            on_change=self._agent_ended,
            clock=time.monotonic,
            nvml_library=settings.nvml_library,
        )
        self._engines = engines = Engines(local)
        secret = _kept(settings.secret_file, new_token)
        catalogue = load_catalogue()
        reach = Reach(settings, url)
        hosts = Hosts(Ssh(os.environ, user=getpass.getuser(), here=socket.gethostname()))
        host_clusters = HostClusters(
            hosts,
            greet=greet,
            living=living,
            home_url=lambda address: reach.home_for(f"http://{address}").url,
            ray=TESTED_RAY,
            log_files=(*NODE_LOGS, *HEAD_LOGS),
        )
        self._clusters = clusters = Clusters(
            database,
            engines,
            catalogue,
            make=lambda cluster, token: RayEngine(
                cluster,
                token,
                catalogue=catalogue,
                home=lambda: reach.home_for(cluster.address),
                program=lambda: Program(
                    url=f"{reach.home_for(cluster.address).url}/agent/v1/program/{zipapp.digest()}",
                    digest=zipapp.digest(),
                ),
                on_change=self._agent_ended,
                orders_changed=self._orders_changed,
            ),
            greet=greet,
            unreachable=reach.line_for,
            hosts=host_clusters,
            tokens=state / "clusters",
            changed=self._wake,
            now_us=now_us,
        )
        self._cluster_starts = starts = ClusterStarts(
            database,
            clusters,
            host_clusters,
            notes=state / "clusters",
            line=reach.line,
            check_host=parse_host,
            check_python=check_python,
        )
        drivers = Drivers(database, engines, secret=secret, changed=self._facts_came, now_us=now_us)
        disks = DiskGuard(settings.least_free)
        sources = Sources(database, blobs)
        secrets = Secrets(database, _kept(state / "secrets.key", new_key), now_us=now_us)

        def secrets_of(run: Run) -> dict[str, str]:
            return secrets.values(run.user, run.spec.secrets)

        self._links = links = Links(
            blobs,
            state / "repositories",
            git_access(settings),
            token_of=secrets.git_token,
            shell=shell_variables(os.environ),
            bounds=Bounds(most_bytes=settings.repository_cache, longest_unused_s=settings.unused_days * _DAY_S),
        )
        datastores = Datastores(
            database,
            state / "datastores",
            open_blobs(settings, "datastores", state / "datastores" / ".contents"),
            has_mounts=local.can_mount,
            disks=disks,
            now_us=now_us,
            open_bucket=open_bucket,
        )
        self._imports = Imports(datastores, disks, may_ask_own_network=settings.is_embedded, open_bucket=open_bucket)
        logs = Logs(database, log_files)
        self._artifacts = artifacts = Artifacts(
            database,
            state / "artifacts",
            open_blobs(settings, "artifacts", state / "artifacts" / "contents"),
            now_us=now_us,
        )
        checkpoints = Checkpoints(database, artifacts, now_us=now_us)
        events = EventFiles(database, state / "events")
        self._scalar_reader = reader = ScalarReader(database, events, changed=self._scalars_changed)
        self._samples = samples = Samples(database, state / "logs")
        stacks = StackRequests(database, now_us=now_us)
        self._environments = environments = Environments(
            state / "environments",
            blobs,
            secrets_of=secrets_of,
            environment=os.environ,
            changed=self._wake,
            active_runs=self._active_runs,
            bounds=Bounds(most_bytes=settings.environment_cache, longest_unused_s=settings.unused_days * _DAY_S),
        )
        self._records = records = RunRecords(
            database, artifacts, sources, packages=environments.packages, secrets_of=secrets_of
        )
        self._rehearsals = rehearsals = Rehearsals(database, moved=self._attempt_moved, now_us=now_us)
        self._agents = agents = Agents(
            database,
            Assignments(
                blobs,
                work=state / "work",
                staging=artifacts.staging_folder,
                check_mounts=datastores.check_mounts,
                overlay=environments.overlay,
                secrets_of=secrets_of,
                has_links=artifacts.has_links,
                data_cache=state / "datastores" / ".cache",
                data_cache_bytes=settings.content_cache,
                least_free=settings.least_free,
            ),
            changed=self._facts_came,
            is_followed=logs.is_followed,
            stacks_asked=stacks.number,
            rehearsals=rehearsals.of,
            now_us=now_us,
        )
        runs = Runs(
            database,
            engines,
            catalogue,
            sources=sources,
            links=links,
            datastores=datastores,
            logs=log_files,
            artifacts=artifacts,
            events=events,
            work=state / "work",
            check_secrets=secrets.check,
            changed=self._wake,
            kill=self._kill_attempt,
            now_us=now_us,
        )
        experiments = Experiments(
            database, engines, sources, work=state / "work", unreachable=agents.unreachable, now_us=now_us
        )
        self._gangs = gangs = Gangs(
            database,
            engines,
            secret=secret,
            find_restore=checkpoints.restore,
            keep_records=records.keep,
            moved=self._attempt_moved,
            ended=self._attempt_ended,
            now_us=now_us,
        )
        admission = Admission(
            database,
            engines,
            secret=secret,
            waits=lambda: disks.waits(state, *(state / part for part in ("work", "datastores", "artifacts", "logs"))),
            now_us=now_us,
        )
        limits = Limits(database, now_us=now_us)
        building = Building(
            database,
            look=environments.look,
            forget_failure=environments.forget_failure,
            keep_records=records.keep,
            now_us=now_us,
        )
        self._controller = Controller(
            [
                limits.stop_overdue,
                admission.end_stopped,
                building.build,
                admission.admit,
                gangs.submit,
                gangs.drive,
            ],
            changed=self._changed,
        )
        self._stream = Stream(self._feeds(logs, samples), self.wakeups)
        sign_in = SignIn(database, now_us=now_us)
        schemes = {settings.scheme, urlsplit(self.url).scheme}
        browsers = Browsers(f"grid_session_{token_hash(secret)[:8]}", schemes=schemes)
        users, owner = Users(database, sign_in, browsers), getpass.getuser()
        accounts = Accounts(database, owner, ended=[users.forget, sign_in.sign_out_all], now_us=now_us)
        self.app = FastAPI(
            title="OpenGrid",
            version=__version__,
            lifespan=self._lifespan,
            openapi_url=None,
            separate_input_output_schemas=False,
            responses={"default": {"model": ErrorDocument, "description": "What is no success"}},
        )
        self.app.state.owner = owner
        problems.install(self.app)
        self.app.add_middleware(problems.Envelope, hosts=_host_names(settings), seen=self._seen)
        self.app.include_router(agent_api(agents, log_files, sources, reader, samples, self.wakeups))
        self.app.include_router(agent_artifacts_api(agents, artifacts))
        self.app.include_router(agent_data_api(agents, DataShipping(database, datastores)))
        self.app.include_router(driver_api(drivers, zipapp, self.wakeups))
        self.app.include_router(clusters_api(clusters, starts, ClusterTemplates(catalogue), users))
        self.app.include_router(artifacts_api(artifacts, users, Sharing(secret, now_us=now_us), url=url))
        self.app.include_router(sessions_api(sign_in, users, browsers, url=self.url))
        self.app.include_router(accounts_api(accounts, users, owner))
        self.app.include_router(runs_api(runs, experiments, users, self.wakeups, now_us=now_us))
        self.app.include_router(new_run_api(NewRuns(database, runs, links), clusters, users))
        self.app.include_router(machines_api(Machines(database, engines), users))
        self.app.include_router(stream_api(self._stream, users))
        self.app.include_router(rehearsals_api(rehearsals, users, is_embedded=settings.is_embedded))
        self.app.include_router(logs_api(logs, users, self.wakeups))
        self.app.include_router(secrets_api(secrets, users))
        self.app.include_router(build_logs_api(experiments, environments.log, users))
        self.app.include_router(log_window_api(logs, users))
        scalars, table = Scalars(database, events, reader), Table(database, now_us=now_us)
        self.app.include_router(scalars_api(scalars, samples, table, users))
        self._boards = boards = TensorBoards(database, events, state / "tensorboard")
        self.app.include_router(tensorboard_api(boards, users))
        self.app.include_router(stacks_api(stacks, users, agents, self.wakeups))
        self.app.include_router(data_api(blobs, datastores, self._imports, users, source_limit=settings.source_limit))
        self.app.include_router(
            admin_api(
                users,
                status=self.status,
                stop=stop,
                types=lambda cluster: instance_type_rows(catalogue, engines.of(cluster or LOCAL_CLUSTER).inventory()),
            )
        )
        self.app.include_router(pages(settings.ui or BUILT))

    def status(self) -> dict[str, object]:
        """Return what `grid server status` says, and server.json but for the address."""
        return {
            "pid": os.getpid(),
            "url": self.url,
            "version": __version__,
            "started_at": datetime.fromtimestamp(self._started_us / 1e6, timezone.utc).isoformat(timespec="seconds"),
            "home": str(self.settings.home),
        }

    def _feeds(self, logs: Logs, samples: Samples) -> dict[str, Callable[[str, str], Feed]]:
        database = self._database

        def hints(version: Callable[[str], Callable[[Transaction], str | None]]) -> Callable[[str, str], Feed]:
            return lambda topic, name: HintFeed(database, topic, version(name), CHANGES, pause_s=0.5)

        def followed(attempt_id: str) -> None:
            self.wakeups.notify(f"attempt:{attempt_id}")

        return {
            "runs": lambda topic, _: RunsFeed(database, topic),
            "machines": lambda topic, _: HintFeed(database, topic, machines_version, CHANGES, pause_s=1.0),
            "run:": lambda topic, name: RunFeed(database, topic, name, now_us=now_us),
            "experiment:": hints(experiment_version),
            "artifacts:": hints(artifacts_version),
            "scalars:": lambda topic, name: HintFeed(database, topic, scalars_version(name), "scalars", pause_s=1.0),
            "system:": lambda topic, name: HintFeed(
                database, topic, samples_version(samples, name), SAMPLES, pause_s=2.0
            ),
            "logs:": lambda topic, name: LogsFeed(logs, topic, name, followed),
        }

    def _wake(self) -> None:
        self._controller.wake()  # made after those who call this
        self.wakeups.notify(CHANGES)

    def _changed(self) -> None:
        self.wakeups.notify("experiments")
        self.wakeups.notify(CHANGES)

    def _facts_came(self, attempt_id: str) -> None:
        self._gangs.hint(attempt_id)
        self._wake()

    def _attempt_moved(self, attempt: Attempt) -> None:
        self._agents.attempt_moved(attempt)
        self.wakeups.notify(f"attempt:{attempt.id}")

    def _kill_attempt(self, attempt_id: str) -> None:
        self._gangs.kill(attempt_id)

    def _attempt_ended(self, attempt_id: str) -> None:
        self._rehearsals.forget(attempt_id)
        self._artifacts.forget(attempt_id)
        self._samples.forget(attempt_id)
        self.wakeups.notify(f"logs:{attempt_id}")

    def _scalars_changed(self, experiment_id: str) -> None:
        self.wakeups.notify(f"scalars:{experiment_id}")
        self.wakeups.notify("scalars")

    def _orders_changed(self, attempt_id: str) -> None:
        self.wakeups.notify(f"attempt:{attempt_id}")

    def _agent_ended(self) -> None:
        self._gangs.hint()
        self._wake()

    def _seen(self) -> None:
        self._last_request = time.monotonic()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        self.wakeups.bind(asyncio.get_running_loop())
        self._clusters.open()
        self._cluster_starts.open()
        self._controller.start()
        self._scalar_reader.start()
        self._imports.fail_left()
        idle = asyncio.create_task(self._end_when_idle())
        tasks = [idle, asyncio.create_task(self._end_idle_boards()), asyncio.create_task(self._prune())]
        self._announce()
        gone = asyncio.create_task(self._presence.end_when_gone(self._stop))
        yield
        for task in (*tasks, gone):
            task.cancel()
        self._controller.close()
        self._scalar_reader.close()
        self._boards.close()
        self._environments.close()
        self._records.close()
        self._engines.close()

    def begin_shutdown(self) -> None:
        """Let go whoever waits, and stop telling where we are."""
        self.wakeups.close()
        self._stream.close()
        self._presence.withdraw()

    def _announce(self) -> None:
        about = {
            **self.status(),
            "url": self._own_url,
            "arguments": self.settings.arguments(urlsplit(self._own_url).port or 0),
            "host": socket.gethostname(),
            "boot_id": boot_id(),
            "protocol": PROTOCOL,
            "certificate": str(self.settings.tls_cert.absolute()) if self.settings.tls_cert else None,
        }
        self._presence.announce(about)

    async def _end_idle_boards(self) -> None:
        """End TensorBoards that nobody looks at any more."""
        while True:
            await asyncio.sleep(30.0)
            await run_in_threadpool(self._boards.end_idle)

    async def _prune(self) -> None:
        """Remove environments and repositories that nobody uses any more: soon after the start, then now and then."""
        await asyncio.sleep(_PRUNE_FIRST_S)
        while True:
            for prune in (self._environments.prune, self._links.prune):
                try:
                    gone = await run_in_threadpool(prune, now_s=time.time())
                    log.info("removed what was not used", folders=gone) if gone else None
                except Exception:  # the loop's edge: the next time may do better
                    log.exception("cannot remove what is not used")
            await asyncio.sleep(_PRUNE_EVERY_S)

    def _active_runs(self) -> set[str]:
        with self._database.read() as tx:
            return tx.runs.active_run_ids()

    async def _end_when_idle(self) -> None:
        """End an embedded server for which nothing is left to do. Agents asking count as something to do."""
        while self.settings.is_embedded:
            await asyncio.sleep(min(30.0, self.settings.idle_s / 4))
            if time.monotonic() - self._last_request > self.settings.idle_s:
                with self._database.read() as tx:
                    busy = self._stream.has_viewers or tx.runs.count(RunFilter(active=True)) > 0
                if not busy and not self._imports.are_running:
                    self._stop()
                    return


def open_blobs(settings: Settings, kind: str, folder: Path) -> Blobs:
    """Return the store of one kind of contents: a folder, or a part of the bucket, of which the folder is the cache."""
    if settings.storage is None:
        return FolderBlobs(folder)
    from opengrid.blobs.objects import ObjectBlobs  # loads a library that only servers with a bucket need

    return ObjectBlobs(f"{settings.storage.rstrip('/')}/{kind}", folder, most_cached=settings.content_cache)


def open_bucket(source: str) -> ForeignBucket:
    """Return a prefix of a bucket that others write to."""
    from opengrid.blobs.bucket import Bucket  # as above

    return Bucket(source)


def git_access(settings: Settings) -> Access:
    """Return how repositories are fetched: with the user's own settings and keys where the server is the user's."""
    return Access(
        protocols=settings.git_protocols if settings.is_embedded else tuple(set(settings.git_protocols) - {"ssh"}),
        environment=dict(os.environ),
        as_user=settings.is_embedded,
        size_limit=settings.source_limit,
    )


def ensure_token(settings: Settings, database: Database) -> None:
    """Make the embedded user's token when there is none, and let the store know its hash."""
    try:
        token = settings.token_file.read_text().strip()
    except FileNotFoundError:
        token = new_token()
        write_private(settings.token_file, token)
    with database.transaction() as tx:
        tx.accounts.ensure_user(getpass.getuser(), token_hash(token), now_us())


def _kept(path: Path, new: Callable[[], str]) -> str:
    """Return a secret of the server's own, made when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        write_private(path, new())
        return path.read_text()


def _host_names(settings: Settings) -> set[str]:
    names = {"127.0.0.1", "localhost", "::1", settings.host, socket.gethostname()}
    if settings.public_url:
        names.add(urlsplit(settings.public_url).hostname or "")
    return names
