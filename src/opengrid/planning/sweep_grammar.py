"""What one script argument means in a sweep: `[…]`, `range(…)` or a distribution. Parsed, never evaluated. Pure."""

from __future__ import annotations

import ast
import io
import math
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from opengrid.core.errors import InvalidValue
from opengrid.planning import distributions

#: Longer texts are no expressions that somebody typed.
_LONGEST = 1 << 20
#: Numbers beyond this are refused in calls: no arithmetic on them may take long.
_LARGEST = 1 << 256

_LIKE_EXPRESSION = re.compile(r"\[.*\]|([a-z_]+)\s*\(.*\)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The elements of a list."""

    values: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many values there are."""
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranged:
    """Python's range, of any length."""

    start: int
    stop: int
    step: int

    @property
    def count(self) -> int:
        """How many values there are."""
        return max(0, -((self.start - self.stop) // self.step))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """Samples of a distribution that have not been drawn yet."""

    name: str
    arguments: dict[str, object] = field(default_factory=dict[str, object])
    count: int


Choices = Listed | Ranged | Sampled


class _NoLiteral(Exception):
    """Something in an expression is no literal, so that the text is none of ours."""


def parse(text: str) -> Choices | None:
    """Return the choices that a text stands for, None when it is no such expression; InvalidValue for a broken one."""
    source = text.strip().replace("\r\n", "\n").replace("\r", "\n")
    match = _LIKE_EXPRESSION.fullmatch(source) if len(source) <= _LONGEST else None
    if match is None or (match[1] is not None and match[1] != "range" and match[1] not in distributions.PARAMETERS):
        return None
    try:
        node = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    try:
        if isinstance(node, ast.List):
            return _listed(node, source)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return _called(node, node.func.id, source)
    except _NoLiteral:
        return None
    return None


def _listed(node: ast.List, source: str) -> Listed | None:
    for element in node.elts:
        _check_literal(element)
    _check_commas(source)
    lines = [line.encode() for line in source.split("\n")]
    values = tuple(_element(element, lines) for element in node.elts)
    return Listed(values=values) if values else None  # `[]` leaves nothing to choose from: it is a value


def _element(node: ast.expr, lines: Sequence[bytes]) -> str:
    """Return what the script gets: the string itself, everything else as it was written."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _sendable(node.value)
    first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
    if first == last:
        return lines[first][node.col_offset : node.end_col_offset].decode()
    parts = [lines[first][node.col_offset :], *lines[first + 1 : last], lines[last][: node.end_col_offset]]
    return b"\n".join(parts).decode()


def _sendable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{value!r} holds a character that no argument can hold") from None
    if "\0" in value:
        raise InvalidValue(f"{value!r} holds a NUL, which no argument can hold")
    return value


def _check_literal(node: ast.expr) -> None:
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise _NoLiteral
        for part in (*filter(None, node.keys), *node.values):
            _check_literal(part)
    elif isinstance(node, (ast.List, ast.Tuple, ast.Set)):
        for part in node.elts:
            _check_literal(part)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        if not isinstance(node.operand, ast.Constant) or not _is_number(node.operand.value):
            raise _NoLiteral
    elif not isinstance(node, ast.Constant) or isinstance(node.value, bytes) or node.value is ...:
        raise _NoLiteral


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, complex)) and not isinstance(value, bool)


def _check_commas(source: str) -> None:
    """Refuse strings that follow one another: Python would silently make one of them."""
    before: tokenize.TokenInfo | None = None
    for token in _tokens(source):
        if token.type in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT):
            continue
        if before is not None and before.type == token.type == tokenize.STRING:
            place = f"at character {before.end[1] + 1} of {source}"
            raise InvalidValue(
                f"a comma is missing between {before.string} and {token.string}, {place}",
                hint=f"write {before.string}, {token.string}",
            )
        before = token


def _tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    try:
        yield from tokenize.generate_tokens(io.StringIO(source).readline)
    except (tokenize.TokenError, SyntaxError):  # what Python's parser takes, its pure-Python reader may not
        return


def _called(node: ast.Call, name: str, source: str) -> Ranged | Sampled:
    if any(keyword.arg is None for keyword in node.keywords):
        raise _NoLiteral
    positional = [_value(argument) for argument in node.args]
    named = {keyword.arg or "": _value(keyword.value) for keyword in node.keywords}
    _check_commas(source)
    if name == "range":
        return _ranged(positional, named, source)
    arguments, count = distributions.bind(name, positional, named)
    return Sampled(name=name, arguments=arguments, count=count)


def _ranged(positional: list[object], named: dict[str, object], source: str) -> Ranged:
    numbers = [value for value in positional if isinstance(value, int) and not isinstance(value, bool)]
    if named or len(numbers) != len(positional) or not 1 <= len(numbers) <= 3:
        raise InvalidValue(f"{source}: range takes 1 to 3 whole numbers", hint="write range(start, stop, step)")
    start, stop = (0, numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1])
    step = numbers[2] if len(numbers) == 3 else 1
    if step == 0:
        raise InvalidValue(f"{source}: the step of a range cannot be 0")
    found = Ranged(start=start, stop=stop, step=step)
    if found.count == 0:
        raise InvalidValue(f"{source} has no values")
    return found


def _value(node: ast.expr) -> object:
    """Return an argument of a call: a literal, or arithmetic on numbers such as `10**6`."""
    if isinstance(node, ast.List):
        return [_value(element) for element in node.elts]
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, str)):
        return node.value
    return _number(node)


def _number(node: ast.expr) -> int | float:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return _bounded(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.BinOp):
        return _combined(node.op, _number(node.left), _number(node.right))
    raise _NoLiteral


def _combined(op: ast.operator, left: int | float, right: int | float) -> int | float:
    try:
        if isinstance(op, ast.Pow) and abs(left) <= _LARGEST and 0 <= right <= 256:
            return _bounded(left**right) if left >= 0 or isinstance(right, int) else math.nan
        if isinstance(op, ast.Mult):
            return _bounded(left * right)
        if isinstance(op, ast.Div):
            return _bounded(left / right)
        if isinstance(op, ast.Add):
            return _bounded(left + right)
        if isinstance(op, ast.Sub):
            return _bounded(left - right)
        if isinstance(op, ast.Pow) and -256 <= right < 0 and left > 0:
            return float(left) ** right
    except ArithmeticError as error:
        raise InvalidValue(f"a number cannot be computed: {error}") from None
    if isinstance(op, ast.Pow):
        raise InvalidValue("a power is too large")
    raise _NoLiteral


def _bounded(value: int | float) -> int | float:
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise InvalidValue("a number is too large: more than 10**77")
    return value
