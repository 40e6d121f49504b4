"""engines.ray.template: a cluster file from the catalogue, as Ray itself would read it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from opengrid.core.errors import InvalidValue, UnknownInstanceType
from opengrid.core.gang import Bundle
from opengrid.engines.ray.hosts import TESTED_RAY
from opengrid.engines.ray.render import resources_of
from opengrid.engines.ray.template import template_of
from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.markets import find_machine_type

CATALOGUE = load_catalogue()


def made(**types: int) -> tuple[dict[str, object], dict[str, int], str]:
    template = template_of(types, CATALOGUE, provider="aws", region="eu-west-1", image="ami-1")
    return yaml.safe_load(template.text), dict(template.types), template.text


def test_rays_own_schema_takes_the_file() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="Ray is not installed here")
    content, _, _ = made(**{"4_v100_16gb": 8, "1_t4_16gb": 4, "m5a.large": 2})
    util.validate_config(util.prepare_config(content))
    content["available_node_types"]["4_v100_16gb"]["resources"]["GPU"] = "four"
    with pytest.raises(Exception, match="four"):
        util.validate_config(util.prepare_config(content))


def test_each_type_is_the_clouds_machine_once_on_demand_and_once_spot() -> None:
    content, types, text = made(**{"4_v100_16gb": 8})
    nodes = content["available_node_types"]
    assert list(nodes) == ["head", "4_v100_16gb", "4_v100_16gb_spot"]
    demand, spot = nodes["4_v100_16gb"], nodes["4_v100_16gb_spot"]
    assert demand["node_config"] == {"InstanceType": "p3.8xlarge", "ImageId": "ami-1"}
    assert spot["node_config"] == {**demand["node_config"], "InstanceMarketOptions": {"MarketType": "spot"}}
    assert (demand["resources"], spot["resources"]) == (
        {"CPU": 32, "GPU": 4, "accelerator_type:V100": 1, "on_demand": 1},
        {"CPU": 32, "GPU": 4, "accelerator_type:V100": 1, "spot": 1},
    )
    assert {(node["min_workers"], node["max_workers"]) for node in (demand, spot)} == {(0, 8)}
    assert content["max_workers"] == 16
    assert types == {"4_v100_16gb": 8, "4_v100_16gb_spot": 8}
    assert "grid clusters add aws" in text
    assert "--types 4_v100_16gb:8,4_v100_16gb_spot:8" in text


def test_names_of_machine_types_lead_back_to_the_same_machines() -> None:
    every = {kind.cloud: 1 for kind in CATALOGUE.types if kind.provider == "aws"}
    content, types, _ = made(**every)
    for name in types:
        kind, is_spot = find_machine_type(name, CATALOGUE)
        config = content["available_node_types"][name]["node_config"]
        assert (config["InstanceType"], "InstanceMarketOptions" in config) == (kind.cloud, is_spot)
    assert len(types) == len(every) + sum(kind.spot is not None for kind in CATALOGUE.types if kind.provider == "aws")


def test_nobody_but_who_has_the_token_runs_programs_there() -> None:
    content, _, _ = made(**{"1_t4_16gb": 1})
    commands = [*content["head_start_ray_commands"], *content["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in command for command in commands if "ray start" in command)


def test_a_machine_that_starts_a_month_later_has_the_ray_of_the_others() -> None:
    content, _, _ = made(**{"1_t4_16gb": 1})
    assert [f"'ray[default]=={TESTED_RAY}'" in command for command in content["setup_commands"]] == [True]


def test_without_an_image_it_is_told_where_one_is_named() -> None:
    for image in (None, "ubuntu"):
        with pytest.raises(InvalidValue, match="image") as refused:
            template_of({"1_t4_16gb": 1}, CATALOGUE, provider="aws", region="eu-west-1", image=image)
        assert "aws ssm get-parameter --region eu-west-1 --name /aws/service/deeplearning" in str(refused.value.hint)


def test_what_the_provider_does_not_sell_is_refused_with_what_is_near() -> None:
    with pytest.raises(InvalidValue, match="aws does not sell Standard_ND40rs_v2") as refused:
        made(Standard_ND40rs_v2=1)
    assert "8_v100_32gb" in str(refused.value.hint)
    with pytest.raises(UnknownInstanceType):
        made(nonsense=1)
    with pytest.raises(InvalidValue, match="no template for 'moon'"):
        template_of({"1_t4_16gb": 1}, CATALOGUE, provider="moon", region="x", image=None)
    with pytest.raises(InvalidValue, match="name the machines"):
        made()


def test_ray_reads_the_documented_file_for_kubernetes_as_machines_that_gangs_fit() -> None:
    kuberay = pytest.importorskip(
        "ray.autoscaler._private.kuberay.autoscaling_config", reason="Ray is not installed here"
    )
    documented = (Path(__file__).parents[2] / "docs/engines.md").read_text().partition("```yaml\n")[2]
    found = kuberay._derive_autoscaling_config_from_ray_cr(yaml.safe_load(documented.partition("```")[0]))
    head, *groups = found["available_node_types"].items()
    assert (head[0], head[1]["resources"]["CPU"]) == ("headgroup", 0)
    for name, group in groups:
        kind, is_spot = find_machine_type(name, CATALOGUE)
        asked = resources_of(Bundle(cpus=kind.cpus, gpus=kind.gpus, accelerator=kind.accelerator))
        assert all(group["resources"][what] >= amount for what, amount in asked.items()), group
        assert not is_spot
        assert f"--types {name}:{group['max_workers']}" in documented
