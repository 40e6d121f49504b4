"""A cluster file for `ray up` on AWS, made of the catalogue: machines that start when gangs need them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from opengrid.core.errors import InvalidValue
from opengrid.engines.ray.hosts import TESTED_RAY
from opengrid.planning.catalogue import Catalogue, InstanceType
from opengrid.planning.markets import ON_DEMAND, SPOT, spot_name

PROVIDERS = ("aws",)

#: The head only places gangs and runs their drivers.
_HEAD = "m5a.xlarge"

_IDLE_MINUTES = 5

#: Where AWS tells its newest image with NVIDIA's driver. Ray's own default is one of 2023, whose Python and C library
#: are too old; and the role that Ray gives to the head may start machines, but not look such a parameter up.
_IMAGES = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"

_PIP = "python3 -m pip install"

_RAY = "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=~/.ray/auth_token; ulimit -n 65536; ray"

#: Where `ray up` puts this very file on the head.
_SCALES = "--autoscaling-config=~/ray_bootstrap_config.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A cluster file, and what OpenGrid is told of the cluster that comes of it."""

    text: str
    types: Mapping[str, int]  #: as `grid clusters add --types` wants them


def template_of(
    types: Mapping[str, int], catalogue: Catalogue, *, provider: str, region: str, image: str | None
) -> Template:
    """Return the file for machines of these types, with the most of each, and of the same on the spot market.

    InvalidValue or UnknownInstanceType when the provider does not sell one of them, or has no such image.
    """
    if provider not in PROVIDERS:
        raise InvalidValue(
            f"there is no template for {provider!r}", hint=f"one of: {', '.join(PROVIDERS)}", field="provider"
        )
    if not types:
        raise InvalidValue("name the machines that it shall start", hint="--types 4_v100_16gb:8", field="types")
    if image is None or not image.startswith("ami-"):
        raise InvalidValue(
            "name the image that its machines boot from" if image is None else f"{image!r} is no image of AWS's",
            hint=f'--image "$(aws ssm get-parameter --region {region} --name {_IMAGES} '
            '--query Parameter.Value --output text)", or one of yours with Python 3.10 and a driver for the GPUs',
            field="image",
        )
    kinds = [(_sold(name, catalogue, provider), most) for name, most in types.items()]
    nodes: dict[str, object] = {
        "head": {
            "node_config": {"InstanceType": _HEAD, "ImageId": image},
            "resources": {"CPU": 0},
            "min_workers": 0,
            "max_workers": 0,
        }
    }
    counted: dict[str, int] = {}
    for kind, most in kinds:
        name = kind.name if catalogue.find(kind.name) == kind else kind.cloud  # several may share a nickname
        nodes[name], counted[name] = _node(kind, most, image), most
        if kind.spot is not None:
            nodes[spot_name(name)], counted[spot_name(name)] = _node(kind, most, image, is_spot=True), most
    content = {
        "cluster_name": "opengrid",
        "provider": {"type": provider, "region": region},
        "auth": {"ssh_user": "ubuntu"},
        "max_workers": sum(counted.values()),
        "idle_timeout_minutes": _IDLE_MINUTES,
        "head_node_type": "head",
        "available_node_types": nodes,
        "file_mounts": {"~/.ray/auth_token": "./opengrid-token"},
        # A machine of next month must have the Ray of the others.
        "setup_commands": [f"{_PIP} 'ray[default]=={TESTED_RAY}' torch lightning"],
        "head_setup_commands": [f"{_PIP} boto3"],
        "head_start_ray_commands": [
            "ray stop",
            f"{_RAY} start --head --port=6379 --dashboard-host=0.0.0.0 {_SCALES}",
        ],
        "worker_start_ray_commands": ["ray stop", f"{_RAY} start --address=$RAY_HEAD_IP:6379"],
    }
    body = yaml.safe_dump(content, sort_keys=False, width=200)
    return Template(text=_comment(kinds, counted, provider) + body, types=counted)


def _sold(name: str, catalogue: Catalogue, provider: str) -> InstanceType:
    kind = catalogue.find(name)
    if kind.provider == provider and kind.cloud:
        return kind
    near = [k for k in catalogue.with_gpus(like=kind, at_least=max(1, kind.gpus)) if k.provider == provider]
    raise InvalidValue(
        f"{provider} does not sell {kind.cloud or kind.name}",
        hint=f"near it: {', '.join(dict.fromkeys(k.name for k in near[:3]))}",
        field="types",
    )


def _node(kind: InstanceType, most: int, image: str, *, is_spot: bool = False) -> dict[str, object]:
    config: dict[str, object] = {"InstanceType": kind.cloud, "ImageId": image}
    if is_spot:
        config["InstanceMarketOptions"] = {"MarketType": "spot"}
    gpus = {"GPU": kind.gpus, f"accelerator_type:{kind.accelerator}": 1} if kind.gpus else {}  # as gangs ask for them
    resources = {"CPU": kind.cpus, **gpus, SPOT if is_spot else ON_DEMAND: 1}
    return {"node_config": config, "resources": resources, "min_workers": 0, "max_workers": most}


def _comment(kinds: Sequence[tuple[InstanceType, int]], counted: Mapping[str, int], provider: str) -> str:
    prices = [
        f"#   {kind.name:<14} {kind.cloud:<14} ${kind.on_demand:g}/h"
        + (f", spot about ${kind.spot:g}/h" if kind.spot is not None else "")
        for kind, _ in kinds
    ]
    types = ",".join(f"{name}:{most}" for name, most in counted.items())
    lines = [
        "# A Ray cluster that starts machines when experiments need them, and gives them back when they are idle.",
        *prices,
        "#",
        "#   pip install 'ray[default]' boto3         # where your AWS credentials are",
        "#   (umask 077; openssl rand -hex 24 > opengrid-token)    # whoever has it can run programs on the cluster",
        "#   ray up THIS_FILE",
        f"#   grid clusters add {provider} --address http://HEAD:8265 --token-file opengrid-token --types {types}",
        "#",
        "# The security group must let the server reach the head's port 8265; the machines must reach the server.",
    ]
    return "\n".join(lines) + "\n"
