"""The user API, call by call."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol, cast
from urllib.parse import quote

from opengrid.client.documents import (
    ArtifactRow,
    ArtifactsDocument,
    CheckedMachine,
    ClusterDocument,
    ClusterLogs,
    ClusterRow,
    ClusterStart,
    ClusterTemplate,
    CreatedDocument,
    DatastoreDocument,
    DatastoreFilesDocument,
    DatastoreRow,
    DeletedDatastoreDocument,
    ExperimentDocument,
    InstanceTypeRow,
    OfferedFileDocument,
    PlanDocument,
    RequestDocument,
    ResumedDocument,
    RunDocument,
    RunRow,
    RunsDocument,
    ScalarsDocument,
    SecretRow,
    SeriesDocument,
    ServerDocument,
    SessionDocument,
    SignInDocument,
    StacksDocument,
    StoppedDocument,
    SystemDocument,
    TableDocument,
    TensorBoardDocument,
    UploadDocument,
    UserRow,
    VerdictDocument,
)
from opengrid.client.http import Query, Response

if TYPE_CHECKING:  # most commands have nothing to ask for, and need not load what a request is made of
    from opengrid.core.packs import Located, Packed
    from opengrid.core.spec import RunSpec

#: How long one held request lasts at most, as the server allows.
HOLD_S = 25.0

#: More runs than this come in pages.
_PAGE = 1000

#: The server reads what it is given once more before it answers: all of a datastore, or a few files.
_HASHING_TIMEOUT_S = 6 * 3600.0
_HASHED_BYTES_A_SECOND = 20 << 20

#: A server may first fetch a repository.
_FETCHING_TIMEOUT_S = 900.0

#: Long series take their time.
_READING_TIMEOUT_S = 300.0

Kind = Literal["run", "experiment"]


class Transport(Protocol):
    """What carries requests: an Http, or something that finds the server first."""

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | BinaryIO | None = None,
        json: object = None,
        timeout_s: float | None = None,
        accept: Collection[int] = (),
    ) -> Response:
        """Send a request and return the whole answer; raise the server's own error for one that is none."""
        ...

    def stream(self, method: str, path: str, *, query: Query | None = None) -> AbstractContextManager[Iterator[bytes]]:
        """Send a request; give the answer's blocks as they arrive."""
        ...


class Api:
    """The calls of the user API. All block; all raise GridError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def server(self) -> ServerDocument:
        """Return what the server says about itself."""
        return cast("ServerDocument", self._get("/api/v1/server"))

    def sign_in_link(self, path: str = "/") -> SignInDocument:
        """Return a link that signs one browser in, once, and leads to a page."""
        return cast("SignInDocument", self._post("/api/v1/sign-in-links", {"path": path}))

    def session(self) -> SessionDocument:
        """Return who asks, as the server knows them."""
        return cast("SessionDocument", self._get("/api/v1/session"))

    def users(self) -> list[UserRow]:
        """Return all users, by name; for the server's own user."""
        return cast("list[UserRow]", self._get("/api/v1/users")["users"])

    def create_user(self, name: str) -> str:
        """Make an account; return its token, which nobody can ask for again."""
        return cast("str", self._post("/api/v1/users", {"name": name})["token"])

    def revoke_user(self, name: str) -> None:
        """Make a user's token worthless."""
        self._transport.request("DELETE", f"/api/v1/users/{name}")

    def plan(self, spec: RunSpec) -> PlanDocument:
        """Return what a request would start; nothing is stored."""
        return cast("PlanDocument", self._post("/api/v1/plan", _wire(spec), _patience_s(spec))["plan"])

    def create_run(self, spec: RunSpec) -> CreatedDocument:
        """Start a run whose bundle has been sent, or which is from a link."""
        return cast("CreatedDocument", self._post("/api/v1/runs", _wire(spec), _patience_s(spec)))

    def send_blob(self, digest: str, content: BinaryIO | bytes) -> bool:
        """Send a blob that the server has not yet; return whether it had to be sent."""
        path = f"/api/v1/blobs/{digest}"
        if self._transport.request("HEAD", path, accept=(404,)).status != 404:
            return False
        self._transport.request("PUT", path, body=content, timeout_s=600)
        return True

    def runs(
        self,
        *,
        active: bool | None = None,
        mine: bool = False,
        labels: Sequence[str] = (),
        limit: int = _PAGE,
        offset: int = 0,
    ) -> RunsDocument:
        """Return one page of runs, newest first; of those with all of these labels (`key` or `key=value`)."""
        query: dict[str, str | int | tuple[str, ...] | None] = {
            "active": None if active is None else str(active).lower(),
            "mine": "true" if mine else None,
            "label": tuple(labels),
            "limit": limit,
            "offset": offset,
        }
        return cast("RunsDocument", self._get("/api/v1/runs", query))

    def all_runs(self, *, active: bool | None = None, mine: bool = False, labels: Sequence[str] = ()) -> RunsDocument:
        """Return all runs, newest first, however many pages that takes."""
        document = self.runs(active=active, mine=mine, labels=labels)
        rows: dict[str, RunRow] = {row["run"]: row for row in document["runs"]}
        offset = len(document["runs"])
        while offset < document["total"]:
            page = self.runs(active=active, mine=mine, labels=labels, offset=offset)["runs"]
            if not page:
                break
            rows.update({row["run"]: row for row in page})  # a run that was made meanwhile shifts the pages
            offset += len(page)
        document["runs"] = list(rows.values())
        return document

    def request(self, run: str) -> RequestDocument:
        """Return what a run was asked for with."""
        return cast("RequestDocument", self._get(f"/api/v1/runs/{run}/request"))

    def run(self, name: str) -> RunDocument:
        """Return a run and its experiments."""
        return cast("RunDocument", self._get(f"/api/v1/runs/{name}"))

    def watch_run(
        self,
        name: str,
        until: Literal["started", "ended"],
        *,
        redraw_s: int | None = None,
        deadline: float | None = None,
    ) -> Iterator[RunDocument]:
        """Yield a run now and whenever it changes; end when all its experiments have started or ended.

        The server holds each request until there is something to say. With `redraw_s` a run is yielded that often
        though nothing has changed, for screens that show durations. At a `deadline` of time.monotonic() it ends too,
        having yielded the run once at least.
        """
        known: str | None = None
        while True:
            hold_s = HOLD_S if deadline is None else min(HOLD_S, max(0.0, deadline - time.monotonic()))
            query = {"until": until, "known": known, "timeout_s": redraw_s or f"{hold_s:g}"}
            document = cast("RunDocument", self._get(f"/api/v1/runs/{name}", query, timeout_s=2 * HOLD_S))
            if document["etag"] != known or redraw_s is not None:
                yield document
            known = document["etag"]
            if all(_is_past(until, experiment["state"]) for experiment in document["experiments"]):
                return
            if deadline is not None and time.monotonic() >= deadline:
                return

    def experiment(self, name: str) -> ExperimentDocument:
        """Return one experiment with its events."""
        return cast("ExperimentDocument", self._get(f"/api/v1/experiments/{name}"))

    def log(self, name: str, query: Query) -> AbstractContextManager[Iterator[bytes]]:
        """Give the blocks of an experiment's log; with follow=true until the experiment has ended."""
        return self._transport.stream("GET", f"/api/v1/experiments/{name}/logs", query=query)

    def log_lines(self, name: str, query: Query) -> dict[str, object]:
        """Return an experiment's log as a document of lines."""
        return self._get(f"/api/v1/experiments/{name}/logs", {**query, "format": "json"})

    def scalars(self, experiment: str) -> ScalarsDocument:
        """Return what an experiment's metrics have come to."""
        return cast("ScalarsDocument", self._get(f"/api/v1/experiments/{experiment}/scalars"))

    def series(self, experiment: str, tags: Sequence[str]) -> SeriesDocument:
        """Return every point of an experiment's metrics."""
        request = {"experiments": [experiment], "tags": list(tags), "pixels": None}
        return cast("SeriesDocument", self._post("/api/v1/scalars", request, timeout_s=_READING_TIMEOUT_S))

    def system(self, experiment: str) -> SystemDocument:
        """Return how much an experiment uses of its machines, as last measured."""
        return cast("SystemDocument", self._get(f"/api/v1/experiments/{experiment}/system"))

    def system_series(self, experiment: str, names: Sequence[str]) -> SeriesDocument:
        """Return every sample of an experiment's machines, ranks and GPUs."""
        request = {"experiments": [experiment], "tags": list(names), "pixels": None}
        return cast("SeriesDocument", self._post("/api/v1/system", request, timeout_s=_READING_TIMEOUT_S))

    def table(self, run: str, query: Query) -> TableDocument:
        """Return a page of a run's experiments with their metrics."""
        return cast("TableDocument", self._get(f"/api/v1/runs/{run}/table", query))

    def table_as_csv(self, run: str, query: Query) -> AbstractContextManager[Iterator[bytes]]:
        """Give a run's experiments with their metrics as CSV."""
        return self._transport.stream("GET", f"/api/v1/runs/{run}/table.csv", query=query)

    def tensorboard(self, names: Sequence[str]) -> TensorBoardDocument:
        """Have a TensorBoard show runs and experiments; blocks until it answers."""
        document = self._post("/api/v1/tensorboard", {"names": list(names)}, timeout_s=_READING_TIMEOUT_S)
        return cast("TensorBoardDocument", document)

    def set_secret(self, name: str, value: str) -> None:
        """Store or replace a secret."""
        self._transport.request("PUT", f"/api/v1/secrets/{quote(name, safe='')}", json={"value": value})

    def secrets(self) -> list[SecretRow]:
        """Return the names of one's own secrets."""
        return cast("list[SecretRow]", self._get("/api/v1/secrets")["secrets"])

    def delete_secret(self, name: str) -> None:
        """Forget a secret."""
        self._transport.request("DELETE", f"/api/v1/secrets/{quote(name, safe='')}")

    def build_log(self, name: str, offset: int = 0) -> bytes:
        """Return what the making of an experiment's environment wrote, from an offset on."""
        path = f"/api/v1/experiments/{name}/build-logs"
        return self._transport.request("GET", path, query={"offset": offset}).body

    def stacks(self, name: str) -> StacksDocument:
        """Return the stacks of all ranks of a running experiment; blocks for the seconds that they may take."""
        return cast("StacksDocument", self._get(f"/api/v1/experiments/{name}/stacks"))

    def artifacts(self, experiment: str) -> list[ArtifactRow]:
        """Return all of an experiment's artifacts, by path and node, however many pages that takes."""
        rows: dict[str, ArtifactRow] = {}
        offset = 0
        while True:
            query = {"limit": _PAGE, "offset": offset}
            document = cast("ArtifactsDocument", self._get(f"/api/v1/experiments/{experiment}/artifacts", query))
            rows.update({row["id"]: row for row in document["artifacts"]})  # a new file shifts the pages
            offset += len(document["artifacts"])
            if not document["artifacts"] or offset >= document["total"]:
                return list(rows.values())

    def artifact(self, experiment: str, row: ArtifactRow) -> bytes:
        """Return the content of a small artifact; NotFound when it has another by now."""
        path = f"/api/v1/experiments/{experiment}/artifacts/{row['id']}/content"
        return self._transport.request("GET", path, query={"sha256": row["sha256"]}).body

    def artifact_blocks(
        self, experiment: str, row: ArtifactRow, offset: int
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Give the blocks of an artifact from an offset on; NotFound when it has another content by now."""
        path = f"/api/v1/experiments/{experiment}/artifacts/{row['id']}/content"
        return self._transport.stream("GET", path, query={"sha256": row["sha256"], "offset": offset})

    def locate_artifact(self, experiment: str, row: ArtifactRow) -> Located:
        """Return where in the bucket an artifact's content is; NotFound when it has another by now."""
        from opengrid.core.codec import from_json  # as below
        from opengrid.core.packs import Located

        path = f"/api/v1/experiments/{experiment}/artifacts/{row['id']}/links"
        return from_json(Located, self._get(path, {"sha256": row["sha256"]}))

    def stop(self, kind: Kind, names: list[str], *, force: bool = False) -> StoppedDocument:
        """Ask runs or experiments to stop; with `force` all that runs for them is killed."""
        return cast("StoppedDocument", self._post("/api/v1/stop", {"kind": kind, "names": names, "force": force}))

    def resume(self, kind: Kind, names: list[str], *, failed: bool) -> ResumedDocument:
        """Queue again what has failed or was stopped."""
        document = self._post("/api/v1/resume", {"kind": kind, "names": names, "failed": failed})
        return cast("ResumedDocument", document)

    def rehearse(self, name: str, fault: str, target: int | None, *, confirmed: bool) -> str:
        """Bring a fault about on a running experiment; return in words which."""
        body = {"fault": fault, "target": target, "confirmed": confirmed}
        return cast("str", self._post(f"/api/v1/experiments/{name}/rehearsals", body)["rehearsal"])

    def delete(self, kind: Kind, names: list[str]) -> list[str]:
        """Delete runs or experiments that have ended, for good; return the experiments that are gone."""
        return cast("list[str]", self._post("/api/v1/delete", {"kind": kind, "names": names})["deleted"])

    def instance_types(self) -> list[InstanceTypeRow]:
        """Return the types of machines."""
        return cast("list[InstanceTypeRow]", self._get("/api/v1/instance-types")["instance_types"])

    def clusters(self) -> list[ClusterRow]:
        """Return all clusters, the server's computer first."""
        return cast("list[ClusterRow]", self._get("/api/v1/clusters")["clusters"])

    def cluster(self, name: str) -> ClusterDocument:
        """Return one cluster with its machines."""
        return cast("ClusterDocument", self._get(f"/api/v1/clusters/{name}"))

    def add_cluster(self, new: Mapping[str, object]) -> ClusterRow:
        """Take a cluster in."""
        return cast("ClusterRow", self._post("/api/v1/clusters", dict(new)))

    def make_cluster(self, new: Mapping[str, object]) -> ClusterStart:
        """Begin to make a cluster of hosts; `cluster_start` tells how far that is."""
        return cast("ClusterStart", self._post("/api/v1/clusters", dict(new)))

    def start_cluster(self, name: str) -> ClusterStart:
        """Begin to start the engine on the hosts of a cluster where it does not run."""
        return cast("ClusterStart", self._post(f"/api/v1/clusters/{name}/start", {}))

    def cluster_start(self, name: str, after: int) -> ClusterStart:
        """Return what the newest start of a cluster's hosts has told since its line number `after`."""
        return cast("ClusterStart", self._get(f"/api/v1/clusters/{name}/start", {"after": str(after)}))

    def cluster_template(self, provider: str, types: Mapping[str, int], region: str) -> ClusterTemplate:
        """Return a file from which a cluster can be made on a cloud."""
        wanted = {"provider": provider, "types": dict(types), "region": region}
        return cast("ClusterTemplate", self._post("/api/v1/cluster-templates", wanted))

    def check_cluster(self, name: str) -> list[CheckedMachine]:
        """Ask every machine of a cluster about itself; blocks for seconds."""
        answer = self._post(f"/api/v1/clusters/{name}/check", {}, timeout_s=120)
        return cast("list[CheckedMachine]", answer["machines"])

    def cluster_logs(self, name: str, query: Query) -> ClusterLogs:
        """Return what a cluster's engine wrote itself: `since_us`, `until_us`, `limit`; blocks for seconds."""
        return cast("ClusterLogs", self._get(f"/api/v1/clusters/{name}/logs", query, timeout_s=120))

    def change_cluster(self, name: str, changes: Mapping[str, object]) -> ClusterRow:
        """Change some of what a cluster is."""
        answer = self._transport.request("PATCH", f"/api/v1/clusters/{name}", json=dict(changes))
        return cast("ClusterRow", answer.json())

    def remove_cluster(self, name: str, *, force: bool = False) -> list[str]:
        """Forget a cluster that nothing uses, and end what the server has started of it; return on which hosts."""
        query = {"force": "1"} if force else None
        answer = self._transport.request("DELETE", f"/api/v1/clusters/{name}", query=query, timeout_s=600)
        return cast("dict[str, list[str]]", answer.json())["ended"]

    def set_default_cluster(self, name: str) -> None:
        """Choose where one's runs go from now on."""
        self._transport.request("PUT", "/api/v1/default-cluster", json={"cluster": name})

    def datastores(self) -> list[DatastoreRow]:
        """Return all versions of all datastores, newest first."""
        return cast("list[DatastoreRow]", self._get("/api/v1/datastores")["datastores"])

    def datastore(self, name: str, version: int | None) -> DatastoreDocument:
        """Return a version, or the newest whole one, with who uses it."""
        return cast("DatastoreDocument", self._get(_datastore(name, version)))

    def datastore_files(self, name: str, version: int, *, limit: int, offset: int = 0) -> DatastoreFilesDocument:
        """Return a page of a version's files, by path."""
        page = self._get(f"{_datastore(name, version)}/files", {"limit": limit, "offset": offset})
        return cast("DatastoreFilesDocument", page)

    def verify_datastore(self, name: str, version: int) -> VerdictDocument:
        """Have every byte of a version read, and repaired where that can be."""
        path = f"{_datastore(name, version)}/verify"
        return cast("VerdictDocument", self._post(path, {}, timeout_s=_HASHING_TIMEOUT_S))

    def delete_datastore(self, name: str, version: int | None) -> DeletedDatastoreDocument:
        """Delete a version, or all of a datastore."""
        return cast("DeletedDatastoreDocument", self._transport.request("DELETE", _datastore(name, version)).json())

    def import_datastore(self, name: str, source: str, *, refers: bool = False) -> DatastoreRow:
        """Have the server make the next version of a datastore of an address, or only refer to it; returns at once."""
        new = {"name": name, "source": source, "refers": refers}
        return cast("DatastoreRow", self._post("/api/v1/datastores/imports", new))

    def open_datastore(self, name: str, source: str, upload: str | None = None) -> UploadDocument:
        """Open the next version of a datastore, or go on with the one that an upload was filling."""
        new = {"name": name, "source": source, "upload": upload}
        return cast("UploadDocument", self._post("/api/v1/datastores", new))

    def offer_datastore_files(self, opened: UploadDocument, files: list[OfferedFileDocument]) -> list[str]:
        """Tell which files a version shall have; return the contents that must be brought, and offered again."""
        timeout_s = 60 + sum(file["size"] for file in files) / _HASHED_BYTES_A_SECOND
        path = f"{_datastore(opened['name'], opened['version'])}/files"
        document = self._put(path, {"round": opened["round"], "files": files}, timeout_s=timeout_s)
        return cast("list[str]", document["wanted"])

    def send_datastore_part(
        self, opened: UploadDocument, digest: str, part: BinaryIO, *, offset: int, size: int
    ) -> int:
        """Send a part of a content of `size` bytes; return how much of it the server has now."""
        path = f"{_datastore(opened['name'], opened['version'])}/contents/{digest}"
        query = {"offset": offset, "size": size}
        answer = self._transport.request("PUT", path, query=query, body=part, timeout_s=600).json()
        return cast("dict[str, int]", answer)["size"]

    def pack_links(self, opened: UploadDocument, packs: Sequence[str]) -> dict[str, str]:
        """Return where to put packs of an upload; those that are there already are left out."""
        path = f"{_datastore(opened['name'], opened['version'])}/links"
        answer = self._post(path, {"round": opened["round"], "packs": list(packs)})
        return {link["pack"]: link["url"] for link in cast("list[dict[str, str]]", answer["links"])}

    def add_packed(self, opened: UploadDocument, contents: Sequence[Packed]) -> list[str]:
        """Say in which packs contents of an upload lie; return packs that are missing: then nothing was taken in."""
        path = f"{_datastore(opened['name'], opened['version'])}/packed"
        answer = self._put(path, {"round": opened["round"], "contents": _wire(contents)}, timeout_s=600)
        return cast("list[str]", answer["missing"])

    def finish_datastore(self, opened: UploadDocument, *, digest: str, files: int, size: int) -> DatastoreRow:
        """Say that all files were offered; the server makes the version whole."""
        path = f"{_datastore(opened['name'], opened['version'])}/finish"
        sent = {"round": opened["round"], "digest": digest, "files": files, "size": size}
        return cast("DatastoreRow", self._put(path, sent, timeout_s=_HASHING_TIMEOUT_S))

    def _get(
        self,
        path: str,
        query: Query | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, object]:
        answer = self._transport.request("GET", path, query=query, timeout_s=timeout_s)
        return cast("dict[str, object]", answer.json())

    def _post(self, path: str, document: object, timeout_s: float | None = None) -> dict[str, object]:
        answer = self._transport.request("POST", path, json=document, timeout_s=timeout_s)
        return cast("dict[str, object]", answer.json())

    def _put(self, path: str, document: object, timeout_s: float | None = None) -> dict[str, object]:
        answer = self._transport.request("PUT", path, json=document, timeout_s=timeout_s)
        return cast("dict[str, object]", answer.json())


def _datastore(name: str, version: int | None) -> str:
    return f"/api/v1/datastores/{name}" + ("" if version is None else f"/{version}")


def _patience_s(spec: RunSpec) -> float | None:
    return _FETCHING_TIMEOUT_S if spec.source.link is not None else None


def _is_past(until: str, state: str) -> bool:
    ended = ("succeeded", "failed", "stopped")
    return state in (("running", *ended) if until == "started" else ended)


def _wire(value: object) -> object:
    from opengrid.core.codec import to_json  # beside its only use: other commands have nothing to encode

    return to_json(value)
