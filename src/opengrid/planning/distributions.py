"""numpy's distributions by their names: what each takes, and its samples as text. Nothing else of numpy is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from opengrid.core.errors import InvalidValue

#: Distribution → its parameters before `size`, those that have a default with a `?`. A test compares with numpy's own.
_TABLE = """
beta(a, b) binomial(n, p) chisquare(df) choice(a) dirichlet(alpha) exponential(scale?) f(dfnum, dfden)
gamma(shape, scale?) geometric(p) gumbel(loc?, scale?) hypergeometric(ngood, nbad, nsample)
integers(low, high?) laplace(loc?, scale?)
logistic(loc?, scale?) lognormal(mean?, sigma?) logseries(p) multinomial(n, pvals)
multivariate_hypergeometric(colors, nsample) multivariate_normal(mean, cov) negative_binomial(n, p)
noncentral_chisquare(df, nonc) noncentral_f(dfnum, dfden, nonc) normal(loc?, scale?) pareto(a) poisson(lam?) power(a)
random() rayleigh(scale?) standard_cauchy() standard_exponential() standard_gamma(shape) standard_normal()
standard_t(df) triangular(left, mode, right)
uniform(low?, high?) vonmises(mu, kappa) wald(mean, scale) weibull(a) zipf(a)
"""


def _parameters() -> dict[str, tuple[str, ...]]:
    entries = (entry.partition("(") for entry in _TABLE.replace("\n", " ").split(")") if entry.strip())
    return {name.strip(): tuple(p.strip() for p in rest.split(",") if p.strip()) for name, _, rest in entries}


#: Older names of numpy's that people know.
_OLDER = {"randint": "integers", "random_sample": "random"}

#: Distribution → its parameters before `size`, in numpy's order; a `?` at the end marks one that may be left out.
PARAMETERS = _parameters()
PARAMETERS.update({older: PARAMETERS[name] for older, name in _OLDER.items()})


def bind(name: str, positional: Sequence[object], named: Mapping[str, object]) -> tuple[dict[str, object], int]:
    """Return a call's arguments by name, and its size: the last one, or the one called `size`."""
    usage = f"{name}({', '.join([p.replace('?', '') for p in PARAMETERS[name]] + ['size'])})"
    rest, given = list(positional), dict(named)
    size = given.pop("size") if "size" in given else rest.pop() if rest else None
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidValue(f"the last argument of {name} is the number of samples, not {size!r}", hint=f"write {usage}")
    names = [p.rstrip("?") for p in PARAMETERS[name]]
    bound = dict(zip(names, rest, strict=False))
    wrong = [key for key in given if key not in names or key in bound]
    bound.update(given)
    missing = [p for p in PARAMETERS[name] if not p.endswith("?") and p not in bound]
    if wrong or missing or len(rest) > len(names):
        what = (
            f"{wrong[0]} is unknown or given twice" if wrong else f"{missing[0]} is missing" if missing else "too many"
        )
        raise InvalidValue(f"{name}: wrong arguments ({what})", hint=f"write {usage}")
    return bound, size


def samples(name: str, arguments: Mapping[str, object], size: int, seed: Sequence[int]) -> list[str]:
    """Return samples as Python prints them; InvalidValue says what numpy has against the arguments."""
    import numpy as np  # takes a tenth of a second, and few sweeps need it

    try:
        drawn = getattr(np.random.default_rng(list(seed)), _OLDER.get(name, name))(**arguments, size=size)
        values = cast("list[object]", drawn.tolist())
    except (ArithmeticError, MemoryError, TypeError, ValueError) as error:
        raise InvalidValue(f"{name}: {error}") from None
    return [str(value) for value in values]
