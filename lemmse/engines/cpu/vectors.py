"""Vectors for Numba kernels: `<64 x float>` of LLVM as a Numba type, which it keeps in registers of any width.

A `Block` holds `COLUMNS` neighboring columns of `IMAGES` images, interleaved, the images fastest; a `Row` one column.
Their numbers are float32 or float64, those of the arrays that they come from.

    load, load_row, store   at an element of a flat array               splat, like    a scalar in all lanes
    a + b, a - b, a * b     lane by lane, contracted to fma             widen, narrow  to float64, and to a dtype
    exp2                    2^x                                         any_above      whether any lane of a > b
    fold_sum, fold_max      a Block to a Row, over its columns          total          the sum of a Row
    above, lowest           lanes where a > b as bits, and the first    where_equal    x, or -inf where a and b differ
    where_below             x, or 0 where a is not below b
    add_moments             the sums of the online softmax              insert         into an ascending list
    squared_distance        of two arrays
"""

from __future__ import annotations

import math
import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic, lower_builtin, overload, type_callable

from lemmse.engines.cpu.compile import jit

IMAGES = 16  # floats in the widest vector register
COLUMNS = 4  # so that a sum is loaded and stored once for four registers of pairs
LANES = IMAGES * COLUMNS
LOG2E = math.log2(math.e)
NEGLIGIBLE = -48.0  # bits: 2^24 such pairs together are the rounding of one float32 sum
NEGLIGIBLE64 = -77.0  # and of one float64 sum
_ELEMENTS = {"float32": ir.FloatType(), "float64": ir.DoubleType()}
_INT32 = ir.IntType(32)


class Vector(types.Type):
    """The Numba type of a vector of `lanes` numbers of `dtype`, a Numba float type."""

    def __init__(self, dtype: types.Float, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype}, {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """The LLVM type."""
        return ir.VectorType(_ELEMENTS[self.dtype.name], self.lanes)


@register_default(Vector)
class _VectorModel(PrimitiveModel):
    def __init__(self, manager, vector):
        super().__init__(manager, vector, vector.llvm)


def _pointer(context, builder, array_type, array, index, vector: Vector):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.llvm.as_pointer())


def _loads(lanes):
    @intrinsic
    def load(_typing, array, index):
        """The vector that starts at element `index` of a flat contiguous array."""
        vector = Vector(array.dtype, lanes)

        def generate(context, builder, signature, args):
            pointer = _pointer(context, builder, signature.args[0], args[0], args[1], vector)
            return builder.load(pointer, align=array.dtype.bitwidth // 8)

        return vector(array, types.intp), generate

    return load


load = _loads(LANES)
load_row = _loads(IMAGES)


@intrinsic
def store(_typing, array, index, vector):
    """Write a vector from element `index` of a flat contiguous array on."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], signature.args[2])
        builder.store(args[2], pointer, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


def _in_all_lanes(builder, scalar, vector: Vector):
    none = ir.Constant(vector.llvm, ir.Undefined)
    first = builder.insert_element(none, scalar, _INT32(0))
    return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(_INT32, vector.lanes), None))


@intrinsic
def splat(_typing, scalar):
    """The Block with `scalar` in all lanes."""
    vector = Vector(scalar, LANES)
    return vector(scalar), lambda context, builder, signature, args: _in_all_lanes(builder, args[0], vector)


@intrinsic
def like(_typing, vector, scalar):
    """The vector of the type of another with `scalar`, rounded to its dtype, in all lanes."""

    def generate(context, builder, signature, args):
        return _in_all_lanes(builder, context.cast(builder, args[1], scalar, vector.dtype), vector)

    return vector(vector, scalar), generate


def _arithmetic(symbol, instruction: str) -> None:
    @type_callable(symbol)
    def type_of(_context):
        return lambda a, b: a if isinstance(a, Vector) and a == b else None

    @lower_builtin(symbol, Vector, Vector)
    def generate(_context, builder, _signature, args):
        return getattr(builder, instruction)(*args, flags=("contract", "nsz"))


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _arithmetic(_symbol, _instruction)


@intrinsic
def widen(_typing, vector):
    """To float64."""
    wide = Vector(types.float64, vector.lanes)

    def generate(context, builder, signature, args):
        return args[0] if vector == wide else builder.fpext(args[0], wide.llvm)

    return wide(vector), generate


@intrinsic
def narrow(_typing, vector, array):
    """Float64 to the dtype of an array."""
    slim = Vector(array.dtype, vector.lanes)

    def generate(context, builder, signature, args):
        return args[0] if vector == slim else builder.fptrunc(args[0], slim.llvm)

    return slim(vector, array), generate


@intrinsic
def where_equal(_typing, x, a, b):
    """The lanes of x where a = b; -inf in the others."""

    def generate(context, builder, signature, args):
        nothing = ir.Constant(x.llvm, [-math.inf] * x.lanes)
        return builder.select(builder.fcmp_ordered("==", args[1], args[2]), args[0], nothing)

    return x(x, a, b), generate


@intrinsic
def where_below(_typing, x, a, b):
    """The lanes of x where a < b; 0 in the others."""

    def generate(context, builder, signature, args):
        zero = ir.Constant(x.llvm, [0.0] * x.lanes)
        return builder.select(builder.fcmp_ordered("<", args[1], args[2]), args[0], zero)

    return x(x, a, b), generate


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def larger(_typing, a, b):
    """The larger of both, lane by lane."""
    return a(a, b), lambda context, builder, signature, args: _larger(builder, *args)


def _folds(combine):
    @intrinsic
    def fold(_typing, vector):
        """A Block to a Row, over its columns, by halves."""

        def generate(context, builder, signature, args):
            value, lanes = args[0], vector.lanes
            while lanes > IMAGES:
                lanes //= 2
                halves = [
                    builder.shuffle_vector(
                        value, value, ir.Constant(ir.VectorType(_INT32, lanes), list(range(start, start + lanes)))
                    )
                    for start in (0, lanes)
                ]
                value = combine(builder, *halves)
            return value

        return Vector(vector.dtype, IMAGES)(vector), generate

    return fold


fold_sum = _folds(lambda builder, a, b: builder.fadd(a, b))
fold_max = _folds(_larger)


@intrinsic
def any_above(_typing, a, b):
    """Whether a > b in any lane."""

    def generate(context, builder, signature, args):
        mask = ir.IntType(a.lanes)
        return builder.icmp_unsigned("!=", builder.bitcast(builder.fcmp_ordered(">", *args), mask), mask(0))

    return types.boolean(a, b), generate


@intrinsic
def above(_typing, a, b):
    """The lanes where a > b of at most 64, as bits."""

    def generate(context, builder, signature, args):
        mask = builder.bitcast(builder.fcmp_ordered(">", *args), ir.IntType(a.lanes))
        return mask if a.lanes == 64 else builder.zext(mask, ir.IntType(64))

    return types.uint64(a, b), generate


@intrinsic
def lowest(_typing, bits):
    """The number of the lowest bit that is set."""
    return types.intp(types.uint64), lambda context, builder, signature, args: builder.cttz(args[0], ir.IntType(1)(1))


@intrinsic
def total(_typing, row):
    """The sum over the lanes of a vector."""

    def generate(context, builder, signature, args):
        element = row.llvm.element
        kind = ir.FunctionType(element, [element, row.llvm])
        name = f"llvm.vector.reduce.fadd.v{row.lanes}f{row.dtype.bitwidth}"
        function = get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [element(-0.0), args[0]], fastmath=("reassoc",))

    return row.dtype(row), generate


@intrinsic
def _times_power(_typing, p, t):
    """p * 2^i for t = i + 1.5 * 2^(bits of the significand): i is in the low bits of t, and goes to the exponent."""

    def generate(context, builder, signature, args):
        bits = ir.VectorType(ir.IntType(p.dtype.bitwidth), p.lanes)
        shift = ir.Constant(bits, [_SIGNIFICAND[p.dtype.name]] * p.lanes)
        i = builder.shl(builder.bitcast(args[1], bits), shift)
        return builder.bitcast(builder.add(builder.bitcast(args[0], bits), i), p.llvm)

    return p(p, t), generate


_SIGNIFICAND = {"float32": 23, "float64": 52}  # bits
_ROUND = 1.5 * 2.0**23  # adding it rounds to an integer
_ROUND64 = 1.5 * 2.0**52


def _exp2_coefficients() -> list[float]:
    """2^f = 1 + f (c0 + f (c1 + ..)) on [-1/2, 1/2], interpolated at Chebyshev points: relative error 3e-7."""
    nodes = np.cos(np.pi * (np.arange(5) + 0.5) / 5) / 2
    nodes[2] = 1e-9  # where (2^f - 1) / f is 0 / 0
    slopes = np.expm1(nodes * math.log(2)) / nodes
    return [float(np.float32(c)) for c in np.linalg.solve(np.vander(nodes, increasing=True), slopes)]


_C0, _C1, _C2, _C3, _C4 = _exp2_coefficients()
_T0, _T1, _T2, _T3, _T4, _T5, _T6, _T7, _T8, _T9, _T10, _T11 = (
    math.log(2) ** n / math.factorial(n) for n in range(1, 13)
)  # Taylor's series: relative error 2e-16


def exp2(x):
    """2^x for x up to 120; under -62 (float64: -500) it stays there: the square of a smaller one is a slow denormal."""
    raise NotImplementedError("for kernels only")


@overload(exp2, inline="always")
def _exp2(x):
    return _exp2_single if x.dtype == types.float32 else _exp2_double


def _exp2_single(x):
    x = larger(x, like(x, -62.0))
    t = x + like(x, _ROUND)
    f = x - (t - like(x, _ROUND))
    p = like(x, _C3) + f * like(x, _C4)
    p = like(x, _C2) + f * p
    p = like(x, _C1) + f * p
    p = like(x, _C0) + f * p
    return _times_power(like(x, 1.0) + f * p, t)


def _exp2_double(x):
    x = larger(x, like(x, -500.0))
    t = x + like(x, _ROUND64)
    f = x - (t - like(x, _ROUND64))
    p = like(x, _T10) + f * like(x, _T11)
    p = like(x, _T9) + f * p
    p = like(x, _T8) + f * p
    p = like(x, _T7) + f * p
    p = like(x, _T6) + f * p
    p = like(x, _T5) + f * p
    p = like(x, _T4) + f * p
    p = like(x, _T3) + f * p
    p = like(x, _T2) + f * p
    p = like(x, _T1) + f * p
    p = like(x, _T0) + f * p
    return _times_power(like(x, 1.0) + f * p, t)


@jit()
def add_moments(acc, start, e, values, at, step, channels):
    """Add the weights e to the sums of one pixel: sum e, sum e^2, and for each channel sum e u, sum e u^2."""
    store(acc, start, load_row(acc, start) + fold_sum(e))
    start += IMAGES
    store(acc, start, load_row(acc, start) + fold_sum(e * e))
    for c in range(channels):
        start += IMAGES
        u = load(values, at + c * step)
        first = e * u
        store(acc, start, load_row(acc, start) + fold_sum(first))
        second = start + channels * IMAGES
        store(acc, second, load_row(acc, second) + fold_sum(first * u))


@jit(fastmath={"reassoc", "contract", "nsz"})
def squared_distance(q, a):
    """The squared distance of two vectors of features, in float64."""
    d = 0.0
    for f in range(len(q)):
        d += (np.float64(q[f]) - np.float64(a[f])) ** 2
    return d


@jit()
def insert(top, numbers, d, number):
    """Insert a distance into an ascending list, if it is under its last; an equal one stays behind."""
    j = len(top) - 1
    if d >= top[j]:
        return
    while j > 0 and top[j - 1] > d:
        top[j] = top[j - 1]
        numbers[j] = numbers[j - 1]
        j -= 1
    top[j] = d
    numbers[j] = number
