"""The user API, call by call."""

from __future__ import annotations

from opengrid.client.calls.accounts import AccountCalls
from opengrid.client.calls.artifacts import ArtifactCalls
from opengrid.client.calls.clusters import ClusterCalls
from opengrid.client.calls.datastores import DatastoreCalls
from opengrid.client.calls.metrics import MetricCalls
from opengrid.client.calls.runs import RunCalls


class Api(AccountCalls, RunCalls, MetricCalls, ArtifactCalls, ClusterCalls, DatastoreCalls):
    """All calls of the user API. All block; all raise GridError."""
