"""The composition root: everything that makes one server, put together."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import os
import socket
import time
from collections.abc import AsyncGenerator, Callable
from datetime import datetime, timezone
from urllib.parse import urlsplit

from fastapi import FastAPI

from opengrid import __version__
from opengrid.client.program import shell_variables
from opengrid.client.remote import Access
from opengrid.controller.admission import Admission
from opengrid.controller.building import Building
from opengrid.controller.gangs import Gangs
from opengrid.controller.limits import Limits
from opengrid.controller.loop import Controller
from opengrid.core.disks import DiskGuard
from opengrid.core.protocol import PROTOCOL
from opengrid.core.records.attempts import Attempt
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Run
from opengrid.core.tokens import new_token, token_hash
from opengrid.engines.engine import Engines
from opengrid.engines.local.engine import LocalEngine
from opengrid.engines.local.processes import boot_id
from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.pruning import Bounds
from opengrid.server import problems
from opengrid.server.accounts_api import accounts_api
from opengrid.server.admin_api import ServerDocument, admin_api
from opengrid.server.agent_api import agent_api
from opengrid.server.agent_artifacts_api import agent_artifacts_api
from opengrid.server.agent_data_api import agent_data_api
from opengrid.server.artifacts_api import artifacts_api
from opengrid.server.auth import Browsers, Users
from opengrid.server.build_logs_api import build_logs_api
from opengrid.server.clusters import open_clusters
from opengrid.server.clusters_api import clusters_api
from opengrid.server.contents import open_blobs
from opengrid.server.data import open_data
from opengrid.server.data_api import data_api
from opengrid.server.driver_api import driver_api
from opengrid.server.keys import kept
from opengrid.server.log_window_api import log_window_api
from opengrid.server.logs_api import logs_api
from opengrid.server.machines_api import machines_api
from opengrid.server.new_run_api import new_run_api
from opengrid.server.pages import BUILT, pages
from opengrid.server.presence import Presence
from opengrid.server.reach import Reach, host_names
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
from opengrid.server.topics import topics
from opengrid.server.upkeep import end_idle_boards, end_when_idle, finish_removals, keep_reserve, prune_caches
from opengrid.server.wakeups import Wakeups
from opengrid.server.zipapp import Zipapp
from opengrid.services.accounts import Accounts
from opengrid.services.agents import Agents
from opengrid.services.artifacts import Artifacts
from opengrid.services.assignments import Assignments
from opengrid.services.checkpoints import Checkpoints
from opengrid.services.cluster_templates import ClusterTemplates
from opengrid.services.data_shipping import DataShipping
from opengrid.services.differences import Differences
from opengrid.services.documents.instance_types import InstanceTypeRow
from opengrid.services.drivers import Drivers
from opengrid.services.environments import Environments
from opengrid.services.event_files import EventFiles
from opengrid.services.experiments import Experiments
from opengrid.services.feeds import CHANGES
from opengrid.services.instance_types import instance_type_rows
from opengrid.services.links import Links
from opengrid.services.log_files import LogFiles
from opengrid.services.logs import Logs
from opengrid.services.machines import Machines
from opengrid.services.new_run import NewRuns
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
from opengrid.store.database import Database
from opengrid.store.run_list import RunFilter

_DAY_S = 24 * 3600.0

#: What is done on the loop's side is waited for at most so long when the server ends.
_END_S = 2.0


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
        secret = kept(settings.secret_file, new_token)
        catalogue = load_catalogue()
        reach = Reach(settings, url)
        self._clusters, self._cluster_starts = clusters, starts = open_clusters(
            settings,
            database,
            engines,
            catalogue,
            zipapp,
            reach,
            on_change=self._agent_ended,
            orders_changed=self._orders_changed,
            changed=self._wake,
            now_us=now_us,
        )
        drivers = Drivers(database, engines, secret=secret, changed=self._facts_came, now_us=now_us)
        disks = DiskGuard(settings.least_free)
        sources = Sources(database, blobs)
        secrets = Secrets(database, kept(state / "secrets.key", new_key), now_us=now_us)

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
        self.data = data = open_data(settings, database, disks, has_mounts=local.can_mount, now_us=now_us)
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
        differences = Differences(sources, secrets_of=secrets.known)
        self._records = records = RunRecords(
            database, artifacts, differences, packages=environments.packages, secrets_of=secrets.known
        )
        self._rehearsals = rehearsals = Rehearsals(database, moved=self._attempt_moved, now_us=now_us)
        self._agents = agents = Agents(
            database,
            Assignments(
                blobs,
                work=state / "work",
                staging=artifacts.staging_folder,
                check_mounts=data.runs.check_mounts,
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
            packages_found=records.packages_found,
            now_us=now_us,
        )
        self._runs = runs = Runs(
            database,
            engines,
            catalogue,
            sources=sources,
            differences=differences,
            links=links,
            data=data.runs,
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
            database, engines, differences, work=state / "work", unreachable=agents.unreachable, now_us=now_us
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
            keep_only=environments.keep_only,
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
        self._stream = Stream(topics(database, logs, samples, self.wakeups, now_us=now_us), self.wakeups)
        sign_in = SignIn(database, now_us=now_us)
        schemes = {settings.scheme, urlsplit(self.url).scheme}
        browsers = Browsers(f"grid_session_{token_hash(secret)[:8]}", schemes=schemes)
        users, owner = Users(database, sign_in, browsers), getpass.getuser()
        accounts = Accounts(database, owner, ended=[users.forget, sign_in.sign_out_all], now_us=now_us)
        self._boards = boards = TensorBoards(database, events, state / "tensorboard")

        def instance_types(cluster: str | None) -> list[InstanceTypeRow]:
            return instance_type_rows(catalogue, engines.of(cluster or LOCAL_CLUSTER).inventory())

        apis = [
            agent_api(agents, log_files, sources, reader, samples, self.wakeups),
            agent_artifacts_api(agents, artifacts),
            agent_data_api(agents, DataShipping(database, data.runs)),
            driver_api(drivers, zipapp, self.wakeups),
            clusters_api(clusters, starts, ClusterTemplates(catalogue), users),
            artifacts_api(artifacts, users, Sharing(secret, now_us=now_us), reach),
            sessions_api(sign_in, users, browsers, reach, is_secure=urlsplit(self.url).scheme == "https"),
            accounts_api(accounts, users, owner),
            runs_api(runs, experiments, users, self.wakeups, now_us=now_us),
            new_run_api(NewRuns(database, runs, links), clusters, users),
            machines_api(Machines(database, engines), users),
            stream_api(self._stream, users),
            rehearsals_api(rehearsals, users, is_embedded=settings.is_embedded),
            logs_api(logs, users, self.wakeups),
            secrets_api(secrets, users),
            build_logs_api(experiments, environments.log, users),
            log_window_api(logs, users),
            scalars_api(Scalars(database, events, reader), samples, Table(database, now_us=now_us), users),
            tensorboard_api(boards, users),
            stacks_api(stacks, users, agents, self.wakeups),
            data_api(blobs, data.datastores, data.filling, data.imports, users, source_limit=settings.source_limit),
            admin_api(users, status=self.status, stop=stop, types=instance_types),
            pages(settings.ui or BUILT),
        ]
        self.app = FastAPI(
            title="OpenGrid",
            version=__version__,
            lifespan=self._lifespan,
            openapi_url=None,
            separate_input_output_schemas=False,
            routes=[route for api in apis for route in api.routes],  # include_router() would make each of them twice
        )
        self.app.state.owner = owner
        problems.install(self.app)
        self.app.add_middleware(problems.Envelope, hosts=host_names(settings), seen=self._seen)

    def status(self) -> ServerDocument:
        """Return what `grid server status` says, and server.json but for the address."""
        return ServerDocument(
            pid=os.getpid(),
            url=self.url,
            version=__version__,
            started_at=datetime.fromtimestamp(self._started_us / 1e6, timezone.utc).isoformat(timespec="seconds"),
            home=str(self.settings.home),
        )

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
        self.data.imports.go_on()
        self._rehearsals.say_that_server_is_back()
        upkeep = [
            finish_removals([self.data.datastores.finish_removals, self._runs.finish_removals]),
            end_idle_boards(self._boards.end_idle),
            keep_reserve(self._database.renew_reserve),
            prune_caches([self._environments.prune, self._links.prune]),
            self._presence.end_when_gone(self._stop),
        ]
        if self.settings.is_embedded:
            upkeep.append(
                end_when_idle(
                    self.settings.idle_s,
                    last_request=lambda: self._last_request,
                    is_busy=self._is_busy,
                    stop=self._stop,
                )
            )
        self._announce()
        self._scalar_reader.start()  # which loads numpy first: whoever waits for the server need not wait for that
        tasks = [asyncio.create_task(one) for one in upkeep]
        yield
        self.begin_shutdown()  # of whom no signal has ended
        ending = [*tasks, *self._stream.watchers()]
        for task in ending:
            task.cancel()
        await asyncio.wait(ending, timeout=_END_S)  # one may be in a thread that a slow disk holds
        self._controller.close()
        self._scalar_reader.close()
        self.close()

    def close(self) -> None:
        """Let go what a server holds though it has not begun to serve. What it has started goes on."""
        self._boards.close()
        self._environments.close()
        self.data.close()
        self._records.close()
        self._engines.close()

    def begin_shutdown(self) -> None:
        """Let go whoever waits, and stop telling where we are."""
        self.wakeups.close()
        self._stream.close()
        self._presence.withdraw()

    def _announce(self) -> None:
        about = {
            **dataclasses.asdict(self.status()),
            "url": self._own_url,
            "arguments": self.settings.arguments(urlsplit(self._own_url).port or 0),
            "host": socket.gethostname(),
            "boot_id": boot_id(),
            "protocol": PROTOCOL,
            "certificate": str(self.settings.tls_cert.absolute()) if self.settings.tls_cert else None,
        }
        self._presence.announce(about)

    def _is_busy(self) -> bool:
        with self._database.read() as tx:
            is_used = self._stream.has_viewers or tx.runs.count(RunFilter(active=True)) > 0
        return is_used or self.data.imports.are_running

    def _active_runs(self) -> set[str]:
        with self._database.read() as tx:
            return tx.runs.active_run_ids()


def git_access(settings: Settings) -> Access:
    """Return how repositories are fetched: with the user's own settings and keys where the server is the user's."""
    return Access(
        protocols=settings.git_protocols if settings.is_embedded else tuple(set(settings.git_protocols) - {"ssh"}),
        environment=dict(os.environ),
        as_user=settings.is_embedded,
        size_limit=settings.source_limit,
    )
