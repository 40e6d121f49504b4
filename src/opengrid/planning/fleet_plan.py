"""From a request to the plan on a cluster of several machines, or why there is none. Pure; see planning.plan."""

from __future__ import annotations

from opengrid.core.errors import Unplannable
from opengrid.core.gang import Bundle, Gang, Plan, bundles_of
from opengrid.core.spec import RunSpec
from opengrid.planning import layout, reasons
from opengrid.planning.catalogue import LOCAL, Catalogue, InstanceType, normal
from opengrid.planning.checks import check_framework, check_interpreter, is_python, ranks_per_node, refuse_gpus
from opengrid.planning.environment import recipe_of
from opengrid.planning.fleet import Fleet, Placed, fits, fleet_in_words, gpus_in_words
from opengrid.planning.inventory import Interpreter
from opengrid.planning.markets import ON_DEMAND, SPOT, spot_name
from opengrid.planning.shape import Shape

_CPUS_PER_GPU = 2


def plan_on_fleet(spec: RunSpec, *, catalogue: Catalogue, fleet: Fleet, interpreter: Interpreter | None) -> Plan:
    """Return what a request would start on a cluster's machines, those included that it would start for it.

    Every machine of the gang is a machine of its own. GPUs of any model stand in for the type's where the cluster has
    none of that model; ranks on CPUs only when the request says so. The engine is told the model only where it could
    choose another one: not every cluster tells it of its machines.
    """
    market = (SPOT if spec.use_spot else ON_DEMAND) if fleet.has_spot else ""
    fleet = fleet.of_market(market) if market else fleet
    shape = _shape(spec, catalogue, fleet)
    check_framework(spec, shape, catalogue)
    check_interpreter(spec, interpreter)
    gang = _gang(spec, shape, fleet)
    model = shape.kind.accelerator if shape.kind.name != LOCAL else ""
    if shape.simulated or not _fits(gang, shape, model, fleet):
        model = ""
    if not _fits(gang, shape, model, fleet):
        raise _too_large(shape, gang, catalogue, fleet, market)
    price = gang.machines * _price(shape.kind, market)
    return Plan(
        gang=gang,
        instance_type=shape.kind.name,
        gpus=shape.gpus,
        experiments=1,
        simulated=shape.simulated,
        price_per_hour=price,
        cost_per_hour=price if _is_rented(shape, fleet) else 0.0,
        python=(interpreter.path or None) if interpreter is not None and is_python(spec) else None,
        source=spec.source.line,
        packages=_packages(spec),
        reason=". ".join(filter(None, _reasons(spec, shape, model, fleet, market))),
        devices=gpus_in_words(shape.gpus, model) if shape.gpus and not shape.simulated else "",
        cluster=fleet.cluster,
        accelerator=model if _has_others(gang, model, fleet) else "",
        market=market,
    )


def _has_others(gang: Gang, model: str, fleet: Fleet) -> bool:
    """Whether a machine of the gang could come to be one with GPUs of another model, or of none that is known."""
    least = min(gang.gpus_of(machine) for machine in range(gang.machines))
    return any(machine.gpus >= least and machine.accelerator != model for machine in fleet.all)


def _price(kind: InstanceType, market: str) -> float:
    return kind.spot if market == SPOT and kind.spot is not None else kind.on_demand


def own_type(fleet: Fleet) -> InstanceType:
    """Return the type `local` of a cluster: its machine with the most GPUs, at no price."""
    machines = fleet.all
    if not machines:
        raise Unplannable(
            f"the cluster {fleet.cluster} has no machines",
            hint="`grid clusters show` says more; name an --instance_type that it can start",
        )
    largest = max(machines, key=lambda machine: (machine.gpus, machine.cpus))
    return InstanceType(
        name=LOCAL,
        cloud="",
        provider=LOCAL,
        cpus=max(largest.cpus, 1),
        memory_gb=max(round(largest.memory_mib / 1024, 1), 0.1),
        gpus=largest.gpus,
        accelerator=largest.accelerator or ("GPU" if largest.gpus else ""),
        gpu_memory_gb=1 if largest.gpus else 0,
    )


def _shape(spec: RunSpec, catalogue: Catalogue, fleet: Fleet) -> Shape:
    asked = spec.gpus or 0
    is_own = spec.instance_type.strip().lower() == LOCAL
    kind = own_type(fleet) if is_own else catalogue.find(spec.instance_type)
    if kind.gpus == 0 and asked:
        refuse_gpus(asked, kind, catalogue)
    gpus = (asked or kind.gpus) if kind.gpus else 0
    return Shape(kind=kind, gpus=gpus, simulated=bool(gpus) and spec.simulate)


def _gang(spec: RunSpec, shape: Shape, fleet: Fleet) -> Gang:
    """Lay the request out, with 2 CPUs per GPU or as many as the machines have."""
    ranks = ranks_per_node(spec, shape)

    def with_cpus(cpus: int) -> Gang:
        if not shape.gpus:
            return layout.plain_node(cpus=cpus, ranks=ranks)
        return layout.lay_out(shape.gpus, shape.kind.gpus, cpus=cpus, ranks=ranks)

    wanted = spec.cpus or (_CPUS_PER_GPU * shape.gpus_per_node if shape.gpus else shape.kind.cpus)
    fitting = (cpus for cpus in range(wanted, 0, -1) if _fits(with_cpus(cpus), shape, "", fleet))
    most = next(fitting, None)
    if most is not None and spec.cpus and most < spec.cpus:
        raise Unplannable(
            f"--cpus {spec.cpus} per node does not fit the machines of {fleet.cluster}",
            hint=f"at most --cpus {most} here",
            field="cpus",
        )
    return with_cpus(wanted if most is None else most)


def _fits(gang: Gang, shape: Shape, accelerator: str, fleet: Fleet) -> bool:
    bundles = bundles_of(gang, simulated=shape.simulated, accelerator=accelerator)
    return fits(fleet.all, [Placed(bundles=bundles, addresses=(None,) * len(bundles))])


def _is_rented(shape: Shape, fleet: Fleet) -> bool:
    """Whether the cluster has, or starts, machines named after the type that was asked for: those have its price."""
    names = {shape.kind.name, shape.kind.cloud} - {"", LOCAL}
    names = {normal(name) for name in (*names, *map(spot_name, names))}
    return not shape.simulated and any(normal(machine.kind) in names for machine in fleet.all)


def _too_large(shape: Shape, gang: Gang, catalogue: Catalogue, fleet: Fleet, market: str) -> Unplannable:
    bundle = bundles_of(gang, simulated=shape.simulated)[0]
    machines = f"{gang.machines} machines" if gang.machines > 1 else "a machine"
    has = fleet_in_words(fleet.all) + (f" on its {market.replace('_', '-')} machines" if market else "")
    return Unplannable(
        f"{shape.kind.name if shape.kind.name != LOCAL else 'this'} needs {machines} with {_in_words(bundle)}; "
        f"{fleet.cluster} has {has}",
        hint=_nearest(shape, catalogue, fleet),
        field="gpus",
    )


def _nearest(shape: Shape, catalogue: Catalogue, fleet: Fleet) -> str:
    """Return what would fit instead: fewer GPUs of the type, the same number in another layout, a rehearsal."""
    if not shape.gpus:
        return f"`grid clusters show {fleet.cluster}` lists its machines"
    found: list[str] = []
    for gpus in range(shape.gpus - 1, 0, -1):
        if _can_hold(gpus, shape.kind.gpus, fleet):
            found.append(f"--gpus {gpus} fits")
            break
    most = max((machine.gpus for machine in fleet.all), default=0)
    if most and shape.kind.name != LOCAL and _can_hold(shape.gpus, most, fleet):
        found.append(f"without --instance_type the cluster's own machines hold {shape.gpus}")
    if not shape.simulated:
        found.append("--simulate rehearses it on CPU ranks")
    return "; ".join(found) or f"`grid clusters show {fleet.cluster}` lists its machines"


def _can_hold(gpus: int, per_machine: int, fleet: Fleet) -> bool:
    gang = layout.lay_out(gpus, per_machine, cpus=1, ranks=1)
    bundles = bundles_of(gang)
    return fits(fleet.all, [Placed(bundles=bundles, addresses=(None,) * len(bundles))])


def _in_words(bundle: Bundle) -> str:
    gpus = f"{bundle.gpus} GPU{'s' if bundle.gpus > 1 else ''} and " if bundle.gpus else ""
    return f"{gpus}{bundle.cpus} CPU{'s' if bundle.cpus > 1 else ''} each"


def _reasons(spec: RunSpec, shape: Shape, accelerator: str, fleet: Fleet, market: str) -> tuple[str, ...]:
    no_spot = f"spot has no effect: {fleet.cluster} has no spot machines" if spec.use_spot and not market else ""
    return _stand_in(shape, accelerator, fleet), reasons.layout_reason(shape), no_spot


def _packages(spec: RunSpec) -> str:
    recipe = recipe_of(spec, "")
    if recipe is None:
        return ""
    file = f"{spec.dependencies.file}: " if recipe.requirements and spec.dependencies is not None else ""
    how = "installed on the machines that lack them" if not recipe.actions else "carried out once on each machine"
    return f"{file}{recipe.title}, {how}"


def _stand_in(shape: Shape, accelerator: str, fleet: Fleet) -> str:
    if shape.simulated:
        return f"simulated (as asked with --simulate): the {shape.gpus} GPUs are stood in for by CPU ranks under gloo"
    if not shape.gpus or shape.kind.name == LOCAL or accelerator:
        return ""
    return f"GPUs of {fleet.cluster} as {reasons.in_nodes(shape.gpus, shape.kind.gpus)}"
