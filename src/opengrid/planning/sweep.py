"""From script arguments to the points of a sweep: counted first, then made. Pure."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue
from opengrid.core.spec import RunSpec, Strategy
from opengrid.planning.distributions import samples
from opengrid.planning.sweep_grammar import Choices, Listed, Ranged, Sampled, parse

#: More experiments than this want to be asked for.
MOST_EXPERIMENTS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dimension:
    position: int  #: of the argument
    option: str  #: `--x=` that stands before the value, or ""
    choices: Choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A sweep that is counted and not yet made."""

    arguments: tuple[str, ...]
    dimensions: tuple[_Dimension, ...]
    trials: int | None  #: None = all points in order
    seed: int

    @property
    def points(self) -> int:
        """Size of the whole product."""
        return math.prod(d.choices.count for d in self.dimensions)

    @property
    def count(self) -> int:
        """Number of experiments."""
        return self.points if self.trials is None else min(self.trials, self.points)

    def expand(self) -> Iterator[tuple[str, ...]]:
        """Yield the arguments of each experiment; the last one that varies varies fastest."""
        made = [self._made(d) for d in self.dimensions]
        for point in _chosen(self.points, self.count, self.seed):
            arguments, rest = list(self.arguments), point
            for dimension, values in zip(reversed(self.dimensions), reversed(made), strict=True):
                rest, index = divmod(rest, dimension.choices.count)
                arguments[dimension.position] = dimension.option + _value(values, index)
            yield tuple(arguments)

    def _made(self, dimension: _Dimension) -> Listed | Ranged:
        choices = dimension.choices
        if not isinstance(choices, Sampled):
            return choices
        seed = (self.seed, dimension.position)
        with _naming(self.arguments, dimension.position):
            return Listed(values=tuple(samples(choices.name, choices.arguments, choices.count, seed)))


def needs_seed(spec: RunSpec) -> bool:
    """Return whether chance decides about a request's experiments, and nobody has fixed it."""
    if spec.seed is not None or spec.strategy is Strategy.NONE:
        return False
    return spec.strategy is Strategy.RANDOM_SEARCH or any(
        isinstance(d.choices, Sampled) for d in _dimensions(spec.program.arguments)
    )


def make_sweep(spec: RunSpec) -> Sweep:
    """Return the sweep that a request asks for; InvalidValue when it is malformed or too large."""
    dimensions = () if spec.strategy is Strategy.NONE else _dimensions(spec.program.arguments)
    trials = None
    if spec.strategy is Strategy.RANDOM_SEARCH:
        if spec.num_trials is None:
            raise InvalidValue("random_search needs --num_trials", hint="--num_trials 10", field="num_trials")
        trials = spec.num_trials
    sweep = Sweep(arguments=spec.program.arguments, dimensions=dimensions, trials=trials, seed=spec.seed or 0)
    most = spec.max_experiments or MOST_EXPERIMENTS
    drawn = [d.choices.count for d in dimensions if isinstance(d.choices, Sampled)]
    largest = max([sweep.count, *drawn])
    if largest > most:
        what = "experiments" if largest == sweep.count else "samples of one distribution"
        raise InvalidValue(
            f"this sweep has {_number(largest)} {what}; {most:,} are allowed",
            hint="--max_experiments N allows more; --strategy random_search --num_trials N draws some of them",
            field="arguments",
        )
    return sweep


def _dimensions(arguments: Sequence[str]) -> tuple[_Dimension, ...]:
    found: list[_Dimension] = []
    for position, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        before = option + equals if equals and option.startswith("-") else ""
        with _naming(arguments, position):
            choices = parse(value if before else argument)
        if choices is not None:
            found.append(_Dimension(position=position, option=before, choices=choices))
    return tuple(found)


@contextmanager
def _naming(arguments: Sequence[str], position: int) -> Generator[None]:
    """Say of an error inside which argument it is about."""
    try:
        yield
    except InvalidValue as error:
        own, equals, _ = arguments[position].partition("=")
        name = own if equals and own.startswith("-") else arguments[position - 1] if position else ""
        where = f"argument {position + 1}" + (f" ({name})" if name.startswith("-") else "")
        raise InvalidValue(f"{where}: {error.message}", hint=error.hint, field="arguments") from None


def _value(choices: Listed | Ranged, index: int) -> str:
    return choices.values[index] if isinstance(choices, Listed) else str(choices.start + index * choices.step)


def _chosen(points: int, count: int, seed: int) -> Iterator[int]:
    """Yield the points to make: all in order, or some of them without repeats, never materialising the product."""
    if count == points:
        yield from range(points)
        return
    chance, seen = random.Random(seed), set[int]()  # noqa: S311 - a sweep, no secret
    if points < 4 * count:
        yield from chance.sample(range(points), count)
        return
    while len(seen) < count:
        point = chance.randrange(points)
        if point not in seen:
            seen.add(point)
            yield point


def _number(value: int) -> str:
    return f"{value:,}" if value < 10**30 else "more than 10**30"


def with_seed(spec: RunSpec, seed: int) -> RunSpec:
    """Return the request with the seed that makes it reproducible, where chance has a part in it."""
    return dataclasses.replace(spec, seed=seed) if needs_seed(spec) else spec
