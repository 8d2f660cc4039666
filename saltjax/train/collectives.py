"""The collectives of a compiled program, read from its text: what the chips send each other, how often, and where.

XLA writes a program as computations that call each other; a loop is a computation that is called again and again. So
one walk from the entry, with the number of calls multiplied on the way, says how often an instruction runs.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
SCOPES = ("layers", "loss")  # the named scopes of the loops of a step, in `models.decoder`, `sweep` and `loss`
BYTES = {"pred": 1, "s8": 1, "u8": 1, "f16": 2, "bf16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.+?) ([a-z][a-z0-9\-]*)\((.*)$")
_CALLED = re.compile(r"\b(?:calls|body|condition|to_apply|\w+_computations?)=(\{[^}]*\}|%?[\w.\-]+)")
_SHAPE = re.compile(r"\b(pred|bf16|[suf]\d+)\[([\d,]*)\]")
_SCOPE = re.compile(rf"\b({'|'.join(SCOPES)})\b")


class Instruction(NamedTuple):
    name: str
    shape: str
    op: str
    rest: str  # operands and attributes
    root: bool


class Collective(NamedTuple):
    """`shape` and `bytes` are those of its larger side on one chip: what a gather gives, what a reduction takes.
    `times`: how often it runs in a step. `where`: layers, loss or outside, the innermost loop of these that it is in.
    `group`: how many chips take part (2 for a permute: each sends to one)."""

    kind: str
    shape: str
    bytes: int
    times: int
    where: str
    group: int

    @property
    def sent(self) -> float:
        """Bytes that one chip sends in a step when the algorithm is a ring's."""
        share = (self.group - 1) / self.group
        factor = {"all-reduce": 2 * share, "collective-permute": 1.0}.get(self.kind, share)
        return factor * self.bytes * self.times


def collectives(text: str) -> list[Collective]:
    """Every collective of `compiled.as_text()` that sends something."""
    computations, entry = _parsed(text)
    found: dict[str, Collective] = {}
    for at, (instruction, count, where) in enumerate(_walk(computations, entry, 1, "outside")):
        kind = instruction.op.removesuffix("-start")
        if kind not in KINDS:
            continue
        # What XLA runs beside other work is cut in pieces that share a channel: it is sent once, where it runs least.
        channel = re.search(r"channel_id=(\d+)", instruction.rest)
        key = f"{kind} {channel[1]}" if channel and not instruction.op.endswith("-start") else f"{at}"
        shape, size = _larger_side(instruction, kind)
        one = Collective(kind, shape, size, count, where, _group(instruction))
        if one.group > 1 and (key not in found or count < found[key].times):
            found[key] = one
    return list(found.values())


def summed(found: list[Collective]) -> list[Collective]:
    """Equal ones together, those that send most first."""
    total: dict[tuple, Collective] = {}
    for one in found:
        key = (one.kind, one.shape, one.where, one.group)
        total[key] = one._replace(times=one.times + (total[key].times if key in total else 0))
    return sorted(total.values(), key=lambda one: -one.sent)


def _parsed(text: str) -> tuple[dict[str, list[Instruction]], str]:
    computations: dict[str, list[Instruction]] = {}
    entry = name = ""
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            name = head[2]
            computations[name] = []
            entry = name if head[1] else entry
        elif name and (body := _INSTRUCTION.match(line)):
            computations[name].append(Instruction(body[2], body[3], body[4], body[5], bool(body[1])))
    return computations, entry


def _walk(
    computations: dict[str, list[Instruction]], name: str, count: int, where: str
) -> Iterator[tuple[Instruction, int, str]]:
    for one in computations[name]:
        scope = _SCOPE.findall(operation.group(1)) if (operation := re.search(r'op_name="([^"]*)"', one.rest)) else []
        here = scope[-1] if scope and one.op == "while" else where
        yield one, count, here
        times = _trips(computations, one) if one.op == "while" else 1
        for inner in re.findall(r"[\w.\-]+", " ".join(_CALLED.findall(one.rest))):
            if inner in computations:
                yield from _walk(computations, inner, count * times, here)


def _trips(computations: dict[str, list[Instruction]], loop: Instruction) -> int:
    """How often a counting loop runs: as XLA noted, or from its condition and the step of its counter; else once."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(known[1])
    condition, body = (
        computations.get(found[1], []) if (found := re.search(rf"{part}=%?([\w.\-]+)", loop.rest)) else []
        for part in ("condition", "body")
    )
    test = next((one for one in condition if one.root and one.op == "compare"), None)
    if test is None:
        return 1
    names = re.findall(r"%([\w.\-]+)", test.rest.partition(")")[0])
    limit = next((n for name in names if (n := _constant(condition, name)) is not None), 1)
    counter = next((one for one in condition if one.name in names and one.op == "get-tuple-element"), None)
    return -(-limit // _step(body, counter))


def _step(body: list[Instruction], counter: Instruction | None) -> int:
    """What a turn of the loop adds to its counter (XLA unrolls some loops twofold); 1 when that cannot be read."""
    index = re.search(r"index=(\d+)", counter.rest) if counter else None
    root = next((one for one in body if one.root and one.op == "tuple"), None)
    if index is None or root is None:
        return 1
    names = re.findall(r"%([\w.\-]+)", root.rest.partition(")")[0])
    new = next((one for one in body if one.name == names[int(index[1])] and one.op == "add"), None)
    steps = [_constant(body, name) for name in re.findall(r"%([\w.\-]+)", new.rest.partition(")")[0])] if new else []
    return next((step for step in steps if step), 1)


def _constant(computation: list[Instruction], name: str) -> int | None:
    one = next((one for one in computation if one.name == name and one.op == "constant"), None)
    return int(one.rest.partition(")")[0]) if one and one.rest.partition(")")[0].isdigit() else None


def _larger_side(instruction: Instruction, kind: str) -> tuple[str, int]:
    sizes = [(f"{dtype}[{dims}]", _size(dtype, dims)) for dtype, dims in _SHAPE.findall(instruction.shape)]
    if kind == "reduce-scatter":  # its operand is as many times larger as there are chips in the group
        shape, size = max(sizes, key=lambda one: one[1])
        return f"{shape} x {_group(instruction)}", size * _group(instruction)
    if instruction.op.endswith("-start") or len(sizes) == 1:
        return max(sizes, key=lambda one: one[1])
    return f"{len(sizes)} arrays, {sizes[0][0]} ...", sum(size for _, size in sizes)


def _size(dtype: str, dims: str) -> int:
    return BYTES.get(dtype, 1) * math.prod(int(dim) for dim in dims.split(",") if dim)


def _group(instruction: Instruction) -> int:
    """The number of chips in a replica group, in any of the three ways XLA writes it."""
    if instruction.op.startswith("collective-permute"):
        return 2
    groups = re.search(r"replica_groups=(.*)", instruction.rest)
    if groups is None:
        return 1
    text = groups[1]
    if text.startswith("mesh["):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", text.partition("]")[0]))
        used = re.findall(r"'(\w+)'", text.partition("]")[2].partition("}")[0])
        return math.prod(int(sizes[axis]) for axis in used)
    if listed := re.match(r"\{\{([\d,]*)\}", text):
        return len(listed[1].split(","))
    return int(counted[1]) if (counted := re.match(r"\[\d+,(\d+)\]", text)) else 1
