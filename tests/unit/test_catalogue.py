"""planning.catalogue: names, sizes and prices of machines."""

from __future__ import annotations

import pytest

from opengrid.core.errors import InvalidValue, UnknownInstanceType
from opengrid.planning.catalogue import Catalogue, load_catalogue

CATALOGUE = load_catalogue()

#: nickname, cloud names, vCPUs, GPUs, memory: what users of Grid remember.
REMEMBERED = [
    ("2_cpu_4gb", "t2.medium", 2, 0, 4),
    ("2_cpu_8gb", "t2.large m5a.large t3.large", 2, 0, 8),
    ("4_cpu_16gb", "t2.xlarge m5a.xlarge t3.xlarge", 4, 0, 16),
    ("8_cpu_32gb", "t2.2xlarge m5a.2xlarge t3.2xlarge", 8, 0, 32),
    ("16_cpu_64gb", "m5a.4xlarge", 16, 0, 64),
    ("1_k80_12gb", "p2.xlarge", 4, 1, 61),
    ("8_k80_12gb", "p2.8xlarge", 32, 8, 488),
    ("16_k80_12gb", "p2.16xlarge", 64, 16, 732),
    ("1_m60_8gb", "g3s.xlarge", 4, 1, 30),
    ("2_m60_8gb", "g3.8xlarge", 32, 2, 244),
    ("4_m60_8gb", "g3.16xlarge", 64, 4, 488),
    ("4_k520_4gb", "g2.8xlarge", 32, 4, 60),
    ("1_t4_16gb", "g4dn.xlarge", 4, 1, 16),
    ("4_t4_16gb", "g4dn.12xlarge", 48, 4, 192),
    ("8_t4_16gb", "g4dn.metal", 96, 8, 384),
    ("1_v100_16gb", "p3.2xlarge", 8, 1, 61),
    ("4_v100_16gb", "p3.8xlarge", 32, 4, 244),
    ("8_v100_16gb", "p3.16xlarge", 64, 8, 488),
    ("8_v100_32gb", "p3dn.24xlarge", 96, 8, 768),
    ("8_a100_40gb", "p4d.24xlarge", 96, 8, 1152),
]


@pytest.mark.parametrize(("nickname", "clouds", "cpus", "gpus", "memory"), REMEMBERED)
def test_a_machine_has_a_nickname_and_its_clouds_names(
    nickname: str, clouds: str, cpus: int, gpus: int, memory: int
) -> None:
    assert CATALOGUE.find(nickname).cloud == clouds.split(maxsplit=1)[0]
    for cloud in clouds.split():
        found = CATALOGUE.find(cloud)
        assert (found.name, found.cpus, found.gpus, found.memory_gb) == (nickname, cpus, gpus, memory)


@pytest.mark.parametrize("name", ["4_V100_16GB", "4-v100-16gb", " p3.8xlarge ", "P3.8XLARGE", "4_V100_244GB"])
def test_case_dashes_and_the_spelling_by_machine_memory_do_not_matter(name: str) -> None:
    assert CATALOGUE.find(name).cloud == "p3.8xlarge"


@pytest.mark.parametrize("cloud", [f"g4dn.{size}xlarge" for size in ("2", "4", "8", "16")])
def test_larger_machines_with_the_same_gpu_share_its_nickname_but_not_its_size(cloud: str) -> None:
    found = CATALOGUE.find(cloud)
    assert (found.name, found.cloud) == ("1_t4_16gb", cloud)
    assert found.cpus > CATALOGUE.find("1_t4_16gb").cpus


def test_the_seeds_type_exists_though_no_cloud_sells_it() -> None:
    found = CATALOGUE.find("4_v100_32gb")
    assert (found.gpus, found.gpu_memory_gb, found.cloud) == (4, 32, "")


@pytest.mark.parametrize("model", ["A10G", "L4", "L40S", "A100", "H100", "H200", "B200"])
def test_newer_machines_are_there(model: str) -> None:
    assert any(kind.accelerator == model for kind in CATALOGUE.types)


def test_every_machine_has_a_price_and_spot_is_cheaper() -> None:
    assert all(kind.on_demand > 0 for kind in CATALOGUE.types)
    assert [kind.cloud for kind in CATALOGUE.types if kind.spot is not None and kind.spot >= kind.on_demand] == []


def test_every_spelling_finds_a_machine_of_that_spelling() -> None:
    for kind in CATALOGUE.types:
        for spelling in kind.spellings:
            assert spelling in CATALOGUE.find(spelling).spellings
        if kind.cloud:
            assert CATALOGUE.find(kind.cloud) == kind


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("4_v100", "4_v100_16gb"), ("p3.8xlarg", "p3.8xlarge"), ("v100", "1_v100_16gb"), ("locl", "local")],
)
def test_an_unknown_type_is_answered_with_the_nearest_names(typed: str, offered: str) -> None:
    with pytest.raises(UnknownInstanceType) as caught:
        CATALOGUE.find(typed)
    assert typed in caught.value.message
    assert offered in (caught.value.hint or "")
    assert "grid instance-types" in (caught.value.hint or "")


def test_a_site_changes_one_price_and_adds_a_machine() -> None:
    site = """
        [aws]
        "p3.8xlarge" = { on_demand = 9.5 }
        [ours]
        "dgx-1" = { cpus = 80, memory_gb = 512, gpus = 8, accelerator = "V100", gpu_memory_gb = 32, on_demand = 0.0 }
    """
    merged = CATALOGUE.merged(site, "site.toml")
    changed = merged.find("4_v100_16gb")
    assert (changed.on_demand, changed.spot, changed.cpus) == (9.5, 3.86, 32)
    assert merged.find("DGX_1").provider == "ours"
    assert merged.find("8_v100_32gb").cloud == "p3dn.24xlarge"
    assert len(merged.types) == len(CATALOGUE.types) + 1


def test_a_site_may_name_a_type_by_its_nickname_and_give_one_of_its_own() -> None:
    merged = CATALOGUE.merged('[generic]\n"4_v100_32gb" = { name = "big", cpus = 64 }', "site.toml")
    assert merged.find("big").cpus == 64
    assert len(merged.types) == len(CATALOGUE.types)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[ours]\n"x" = { cpus = 4 }', "memory_gb, on_demand missing"),
        ('[ours]\n"x" = { cpus = "4", memory_gb = 1, on_demand = 1 }', "cpus = '4'"),
        ('[ours]\n"x" = { cpu = 4 }', "unknown field 'cpu'"),
        ('[ours]\n"x" = { cpus = 4, memory_gb = 8, on_demand = 1, gpus = 2 }', "accelerator"),
        ('[ours]\n"local" = { cpus = 4, memory_gb = 8, on_demand = 1 }', "always means"),
        ("x = 1", "no table"),
        ("[ours", "site.toml"),
    ],
)
def test_a_broken_site_file_is_refused_with_the_place(text: str, words: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        Catalogue(CATALOGUE.types).merged(text, "site.toml")
    assert words in caught.value.message


def test_machines_with_gpus_come_nearest_first() -> None:
    like = CATALOGUE.find("4_v100_16gb")
    near = CATALOGUE.with_gpus(like=like, at_least=8)
    assert near[0].accelerator == "V100"
    assert near[0].gpus == 8


@pytest.mark.parametrize(
    ("kind", "gpus", "accelerator", "name"),
    [
        ("p3.8xlarge", 4, "V100", "4_v100_16gb"),
        ("4_V100_16GB", 0, "", "4_v100_16gb"),
        ("our-own-box", 4, "V100", "our-own-box"),
        ("", 4, "T4", "4_t4_16gb"),
        ("", 2, "V100", "2_v100_16gb"),
        ("", 8, "V100", None),  # of 16 or of 32 GB
        ("", 3, "V100", None),
        ("", 4, "", None),
        ("", 0, "", None),
    ],
)
def test_a_machine_is_called_by_its_type_or_by_its_gpus(
    kind: str, gpus: int, accelerator: str, name: str | None
) -> None:
    assert CATALOGUE.nickname_of(kind=kind, gpus=gpus, accelerator=accelerator) == name
