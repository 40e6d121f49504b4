"""The pure parts of the Ray engine: a gang as a job, nodes as machines, and why one waits."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace

import pytest

from opengrid.core.gang import Bundle
from opengrid.core.protocol import Ticket
from opengrid.engines.engine import AgentProcess, Submission
from opengrid.engines.ray.inside.marks import NEVER, SPOT
from opengrid.engines.ray.inside.scaling import Scaling, of_answer, of_status
from opengrid.engines.ray.inside.waiting import IDLE_S, NodeView, model_nobody_has, of_any_model, why_waiting
from opengrid.engines.ray.jobs_api import Job, RayNode
from opengrid.engines.ray.parse import machines_of, named, possible_of
from opengrid.engines.ray.render import Home, Program, job_of, resources_of
from opengrid.planning import markets
from opengrid.planning.catalogue import load_catalogue

HOME = Home(url="http://10.0.0.9:8285", certificate=None)
PROGRAM = Program(url="http://10.0.0.9:8285/agent/v1/program/ab", digest="ab")


def submission(*gpus: int, token: str = "the-token") -> Submission:
    return Submission(
        attempt_id="r1e0-1",
        agents=tuple(
            AgentProcess(
                machine=i,
                ticket=Ticket(attempt_id="r1e0-1", machine=i, token=token, url=HOME.url, state_dir="/w/agents"),
                devices=(),
                bundle=Bundle(cpus=8, gpus=number),
            )
            for i, number in enumerate(gpus)
        ),
    )


def words(job: dict[str, object]) -> list[str]:
    return shlex.split(str(job["entrypoint"]))


def test_a_gang_is_one_job_named_by_its_attempt() -> None:
    job = job_of(submission(4, 4), program=PROGRAM, home=HOME, work_dir="/w", python="/opt/py/bin/python")
    assert job["submission_id"] == "r1e0-1"
    command = words(job)
    assert command[:3] == ["exec", "/opt/py/bin/python", "-c"]
    assert command[4:9] == [PROGRAM.url, "ab", HOME.url, "r1e0-1", "/w"]
    assert json.loads(command[9]) == [{"CPU": 8, "GPU": 4}, {"CPU": 8, "GPU": 4}]
    compile(command[3], "boot", "exec")


def test_nothing_that_ray_shows_is_secret() -> None:
    home = Home(url="https://grid.example", certificate="-----BEGIN CERTIFICATE-----")
    job = job_of(submission(4, token="s3cr3t"), program=PROGRAM, home=home, work_dir="/w", python=None)
    assert "s3cr3t" not in json.dumps(job)
    assert job["runtime_env"] == {"env_vars": {"OPENGRID_CERTIFICATE": "-----BEGIN CERTIFICATE-----"}}


def test_the_job_takes_nothing_on_the_head_itself() -> None:
    job = job_of(submission(4), program=PROGRAM, home=HOME, work_dir="/w", python=None)
    assert not [key for key in job if key.startswith("entrypoint_")]


def test_a_bundle_in_rays_words() -> None:
    assert resources_of(Bundle(cpus=2)) == {"CPU": 2}
    assert resources_of(Bundle(cpus=8, gpus=4, accelerator="V100")) == {
        "CPU": 8,
        "GPU": 4,
        "accelerator_type:V100": 0.001,
    }


def node(address: str, kind: str = "", **resources: float) -> RayNode:
    return RayNode(id=address, address=address, kind=kind, resources=resources, is_head=False)


def test_nodes_are_machines_with_the_model_that_ray_detected() -> None:
    v100 = node("10.0.0.2", "p3.8xlarge", CPU=32, GPU=4, memory=2 << 30, **{"accelerator_type:V100": 1})
    head = node("10.0.0.1", CPU=0, memory=1 << 30)
    (found,) = machines_of([v100, head])
    assert (found.address, found.kind, found.cpus, found.gpus, found.accelerator, found.memory_mib) == (
        *("10.0.0.2", "p3.8xlarge", 32, 4, "V100"),
        2048,
    )


def test_a_model_with_a_closer_name_too_is_called_as_types_call_it() -> None:
    names = {"accelerator_type:A100-80G": 1, "accelerator_type:A100": 1}
    (found,) = machines_of([node("10.0.0.2", CPU=96, GPU=8, **names)])
    assert found.accelerator == "A100"


def test_a_cluster_can_start_what_is_left_of_its_most() -> None:
    kinds = ("p3.8xlarge", "4_v100_16gb", "4-v100-16gb", "4-v100-16gb-spot")
    running = machines_of([node(f"10.0.0.{i}", kind, CPU=32, GPU=4) for i, kind in enumerate(kinds)])
    possible = possible_of({"4_v100_16gb": 4, "2_cpu_4gb": 1, "4-v100-16gb-spot": 1}, running, load_catalogue())
    assert [(m.kind, m.gpus, m.address) for m in possible] == [("4_v100_16gb", 4, ""), ("2_cpu_4gb", 0, "")]


def test_machines_whose_type_nobody_names_are_those_that_the_cluster_can_start() -> None:
    volta = {"CPU": 32, "GPU": 4, "accelerator_type:V100": 1}
    seen = machines_of(
        [
            node("10.0.0.1", **volta, on_demand=1),
            node("10.0.0.2", **volta, spot=1),
            node("10.0.0.3", **volta, spot=1),
            node("10.0.0.4", CPU=32, GPU=4, **{"accelerator_type:T4": 1}),
            node("10.0.0.5", CPU=96, GPU=8),
            node("10.0.0.6", CPU=2),
            node("10.0.0.7", CPU=4),
        ]
    )
    most = {"4_v100_16gb": 2, "4_v100_16gb_spot": 1, "8_t4_16gb": 1, "2_cpu_4gb": 1}
    found = named(seen, most, load_catalogue())
    kinds = ["4_v100_16gb", "4_v100_16gb_spot", "", "", "8_t4_16gb", "2_cpu_4gb", ""]
    assert [machine.kind for machine in found] == kinds
    assert [machine.kind for machine in possible_of(most, found, load_catalogue())] == ["4_v100_16gb"]


def test_why_a_gang_waits_is_said_in_words() -> None:
    four = {"CPU": 8.0, "GPU": 4.0}
    large, small = NodeView("a", {"CPU": 8, "GPU": 4}), NodeView("b", {"CPU": 8, "GPU": 2})
    quiet = Scaling()
    assert why_waiting([four, four], [large, large], quiet) == (
        "waits for 2 machines with 4 GPUs and 8 CPUs each: 2 are so large, and not all of that is free"
    )
    assert why_waiting([four, four], [large, small], quiet) == (
        "waits for 2 machines with 4 GPUs and 8 CPUs each: 1 is so large; more must join"
    )
    assert why_waiting([four], [small], quiet) == (
        "waits for a machine with 4 GPUs and 8 CPUs: its largest has 2 GPUs; some must join"
    )
    assert why_waiting([{"CPU": 1, "GPU": 1, "accelerator_type:V100": 0.001}], [], quiet) == (
        "waits for a machine with 1 GPU (V100) and 1 CPU: it has none now; some must join"
    )
    assert why_waiting([{"CPU": 1, SPOT: 0.001}], [small], Scaling(starting={"2_cpu_4gb_spot": 1})) == (
        "waits for a spot machine with 1 CPU: 1 is so large, and none is a spot machine; "
        "the cluster starts 1 of 2_cpu_4gb_spot"
    )
    assert why_waiting([{**four, "accelerator_type:V100": 0.001}] * 2, [large, small], quiet) == (
        "waits for 2 machines with 4 GPUs (V100) and 8 CPUs each: 1 is so large, and none names V100 GPUs; "
        "others must join"
    )


def test_a_gang_for_which_nothing_is_started_says_what_a_node_type_must_have() -> None:
    volta, quiet = {"CPU": 8.0, "GPU": 4.0, "accelerator_type:V100": 0.001}, Scaling()
    said = why_waiting([volta], [], quiet, IDLE_S + 1)
    assert said.endswith(
        "none is being started, and one that joins, or a node type to start, needs the resources CPU: 8, GPU: 4, "
        "accelerator_type:V100: 1"
    )
    assert why_waiting([volta], [], Scaling(starting={"a": 1}), IDLE_S + 1).endswith("the cluster starts 1 of a")


def test_a_model_is_not_insisted_on_that_neither_a_machine_nor_a_node_type_names() -> None:
    volta, quiet = {"CPU": 8.0, "GPU": 4.0, "accelerator_type:V100": 0.001}, Scaling()
    unnamed, named = NodeView("a", {"CPU": 8, "GPU": 4}), NodeView("b", {"accelerator_type:V100": 1})
    assert model_nobody_has([volta], [unnamed], quiet, IDLE_S + 1) == "V100"
    assert of_any_model([volta]) == [{"CPU": 8, "GPU": 4}]
    assert model_nobody_has(of_any_model([volta]), [unnamed], quiet, IDLE_S + 1) == ""
    assert model_nobody_has([volta], [unnamed], quiet, IDLE_S) == ""
    assert model_nobody_has([volta], [named], quiet, IDLE_S + 1) == ""
    assert model_nobody_has([volta], [unnamed], Scaling(failed="a: quota is 0"), IDLE_S + 1) == ""


def test_both_autoscalers_say_what_they_start_and_what_they_could_not() -> None:
    report = {"pending_launches": {"a": 1}, "pending_nodes": [["10.0.0.7", "a", "setting-up"], [None, "b", "waiting"]]}
    assert of_status({"autoscaler_report": report}).in_words() == "starts 2 of a and 1 of b"
    record = {"node_type": "a", "is_available": False, "unavailable_node_information": {"description": "quota is 0"}}
    report = {"node_availability_summary": {"node_availabilities": {"a": record}}}
    assert of_status({"autoscaler_report": report}).in_words() == "could not start a: quota is 0"
    assert of_status({}).in_words() == ""

    launch = SimpleNamespace(ray_node_type_name="a", count=2, details=None)
    failed = SimpleNamespace(ray_node_type_name="c", count=1, details="no such image")
    node = SimpleNamespace(ray_node_type_name="b")
    answer = SimpleNamespace(pending_launches=[launch], pending_nodes=[node], failed_launches=[failed])
    assert of_answer(answer) == Scaling(starting={"a": 2, "b": 1}, failed="c: no such image")


def test_machines_of_a_spot_type_are_told_from_the_others() -> None:
    assert markets.SPOT == SPOT  # what runs inside knows nothing of planning
    nodes = [node("10.0.0.2", "4_v100_16gb_spot", CPU=32, GPU=4, spot=1), node("10.0.0.3", "x", CPU=4, on_demand=1)]
    running = machines_of(nodes)
    assert [machine.market for machine in running] == ["spot", "on_demand"]
    possible = possible_of({"4_v100_16gb_spot": 2, "4_v100_16gb": 1}, running, load_catalogue())
    assert [(m.kind, m.market, m.gpus) for m in possible] == [
        ("4_v100_16gb_spot", "spot", 4),
        ("4_v100_16gb", "on_demand", 4),
    ]
    assert resources_of(Bundle(cpus=2, market="spot")) == {"CPU": 2, "spot": 0.001}


def test_a_job_that_failed_tells_its_last_words_and_not_its_own_command() -> None:
    def words(*log: str) -> str:
        heading = "Job entrypoint command failed with exit code 127, last available logs (truncated to 20,000 chars):"
        entrypoint = "exec /nowhere -c 'import sys\nsys.exit(1)\n' http://server 1"
        return Job(id="a", status="FAILED", message="\n".join([heading, *log]), entrypoint=entrypoint).last_words

    assert words("sys.exit(1)", "' http://server 1", "/bin/sh: 1: exec: /nowhere: not found") == (
        "/bin/sh: 1: exec: /nowhere: not found"
    )
    assert words("sys.exit(1)", "' http://server 1") == "the driver ended with exit code 127"


@pytest.mark.parametrize(
    ("status", "code", "cannot_run"),
    [
        ("FAILED", NEVER, True),
        ("FAILED", 127, True),
        ("FAILED", 1, False),
        ("FAILED", -9, False),
        ("STOPPED", 127, False),
    ],
)
def test_a_job_whose_driver_or_interpreter_says_so_would_fail_again(status: str, code: int, cannot_run: bool) -> None:
    message = f"Job entrypoint command failed with exit code {code}, last available logs (truncated to 20,000 chars):\n"
    assert Job(id="a", status=status, message=message, entrypoint="").cannot_run is cannot_run
