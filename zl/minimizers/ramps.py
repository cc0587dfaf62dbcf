"""Constructions that see the inputs through one generic projection, and bend it at ramps."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Int, PRNGKeyArray

from zl import _checks, _random
from zl._known import entrywise
from zl.activations import Activation
from zl.errors import HypothesisError
from zl.minimizers.regression import warn_if_spoilt
from zl.network import Layer, Network, Params

MEMORIZING = "Memorizing (after [Co] Lemma 3.3)"
CLASS_INDEX = "Class index (one projection, ReLU)"
SHIFT = 1 / 8  # a ramp's kink lies this part of the way from its sample to the next
RESOLVED = 64 * np.finfo(float).eps  # projections closer than this, in units of their size, merge


def memorizing(
    net: Network,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    key: PRNGKeyArray | None = None,
) -> Params:
    """Zero loss for any distinct inputs, with a last hidden layer of N - 1 neurons.

    A generic projection t = v·x puts the samples in an order. Unit j of the last hidden layer
    fires only after sample j: its kink lies between samples j and j + 1, an eighth of the way. So
    the features are triangular, and the outputs, piecewise linear functions of t, can be bent from
    each sample to the next as the labels require. Their slopes solve a bidiagonal system, in
    which errors die out by the factor 1/7 a sample. Hidden layers before the last one hand t on
    in their first neuron, where σ is the identity.

    σ need not be ReLU: the theorem uses that σ(z) = z far to the right of 0 and σ(z) = αz far to
    the left, α < 1, and units are so steep that all samples lie that far from their kinks. For
    ReLU, leaky ReLU and mollified ReLU this is meant literally, and the fit is exact in real
    arithmetic. For softplus it holds up to e⁻⁶⁴, far below rounding: the features differ by that
    much from triangular ones, so they are still affinely independent, and an exact fit exists
    within rounding of the parameters written down here.

    Precision. Of 256 random projections the one is taken whose smallest gap, in units of the
    size of v·x, is the largest. The residual is about eps/gap, so C about (eps/gap)²/N. For the
    1797 digits the gap is 4e-7 and C < 1e-20; with inputs in R¹ there is nothing to choose.

    Args:
        net: a network with a last hidden width of at least n - 1, where n ≤ N is the number of
            distinct inputs, and an activation that is a ramp seen from afar: ReLU, leaky ReLU,
            mollified ReLU, softplus.
        X: inputs (M0, N). Equal inputs must have equal labels.
        Y: any labels (Q, N).
        key: for the random projections; a fixed choice by default.

    Returns:
        Parameters with C = 0 up to rounding.

    Raises:
        HypothesisError: if σ is not a ramp, there is no hidden layer or the last one is too
            narrow, equal inputs have different labels, or no projection tells the inputs apart
            in double precision.
        ValueError: if X or Y is empty, not finite, of the wrong shape or in single precision.

    Warns:
        RuntimeWarning: if rounding has spoilt the fit (relative residual above 1e-6).

    Source: after [Co] Lemma 3.3, with N - 1 neurons and the output bias, for Q outputs.

    Example:
        >>> import jax
        >>> net = zl.Network((2, 40, 3), "relu")
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=2, N=41, Q=3)
        >>> bool(zl.cost(net, zl.minimizers.memorizing(net, X, Y), X, Y) < 1e-18)
        True
    """
    X = np.asarray(_checks.matrix("X", X, rows=net.M0))
    Y = np.asarray(_checks.matrix("Y", Y, rows=net.Q, columns=X.shape[1]))
    line, ramp = check_memorizing(net, X, Y, key)
    t = line.v @ X[:, line.samples] + line.c
    bend, last = interpolate(t, Y[:, line.samples], ramp)
    if net.L == 1:
        layers = [Layer(bend.W * line.v, bend.b + bend.W[:, 0] * line.c), last]
    else:
        start = Layer(ramp.reach * line.v[None], np.array([ramp.reach * line.c]))
        hand_on = [Layer(np.eye(1), np.zeros(1))] * (net.L - 2)
        layers = [start, *hand_on, Layer(bend.W / ramp.reach, bend.b), last]
    params = padded(net, layers)
    warn_if_spoilt(net, params, X, Y, f"projections {line.gap:.1e} apart")
    return params


def class_index(
    X: Float[Array, "M0 N"],
    labels: Int[Array, " N"] | Float[Array, "Q N"],
    *,
    key: PRNGKeyArray | None = None,
) -> tuple[Network, Params]:
    """Any classes of any distinct inputs, with 3N + M0 + Q² + 2Q - 3 parameters.

    The ReLU network has the widths (M0, 1, N - 1, 1, Q - 1, Q). Its first neuron is a generic
    projection t = v·x + c > 0. N - 1 ramps turn t into the class index s ∈ {1, …, Q}, one neuron;
    Q - 1 ramps turn s into the unit vector e_s. So labels of classes need far fewer than QN
    parameters, for generic inputs too; they are not generic labels. No kink lies at a sample, so
    the outputs are differentiable in the parameters, and the fit survives smoothing of ReLU.

    Precision is that of `memorizing`, for the indices.

    Args:
        X: inputs (M0, N). Equal inputs must be of the same class.
        labels: classes 0, 1, …, Q - 1 as integers (N,), or one-hot columns (Q, N).
        key: for the random projections; a fixed choice by default.

    Returns:
        The network and its parameters, with output e_q for class q - 1, up to rounding.
        Widths N - 1 and Q - 1 are 1 where they would be 0.

    Raises:
        HypothesisError: if equal inputs are of different classes, or no projection tells the
            inputs apart in double precision.
        ValueError: if X or labels is empty, not finite, of the wrong shape or type or in single
            precision.

    Warns:
        RuntimeWarning: if rounding has spoilt the fit (relative residual above 1e-6).

    Source: the book's own ("why genericity must be asked of the labels").

    Example:
        >>> import jax
        >>> X, _ = zl.data.generic(jax.random.key(0), M0=5, N=60, Q=10)
        >>> labels = jax.random.randint(jax.random.key(1), 60, 0, 10)
        >>> net, params = zl.minimizers.class_index(X, labels)
        >>> net.widths, net.K, bool(zl.cost(net, params, X, jax.nn.one_hot(labels, 10).T) < 1e-18)
        ((5, 1, 59, 1, 9, 10), 302, True)
    """
    X = np.asarray(_checks.matrix("X", X))
    labels, Q = _checks.classes("labels", labels, X.shape[1])
    line = check_class_index(X, labels, key)
    ramp, index = Ramp(0.0, 1.0), 1.0 + np.arange(Q)
    t = line.v @ X[:, line.samples] + line.c
    first = Layer(line.v[None], np.array([line.c]))
    layers = [
        first,
        *interpolate(t, index[None, labels[line.samples]], ramp),
        *interpolate(index, np.eye(Q), ramp),
    ]
    net = Network(class_index_widths(*X.shape, Q), "relu")
    params = padded(net, layers)
    warn_if_spoilt(net, params, X, np.eye(Q)[:, labels], f"projections {line.gap:.1e} apart")
    return net, params


def class_index_widths(M0: int, N: int, Q: int) -> tuple[int, ...]:
    """The widths of the network that `class_index` builds."""
    return (M0, 1, max(N - 1, 1), 1, max(Q - 1, 1), Q)


class Line(NamedTuple):
    """A projection t = v·x + c onto [1, 2] under which distinct samples stay distinct."""

    samples: np.ndarray  # one of each set of equal inputs
    v: np.ndarray
    c: float
    gap: float  # the smallest distance of two projections, in units of their size


class Ramp(NamedTuple):
    """What σ is from afar: z for z ≥ reach, slope·z for z ≤ -reach, up to rounding."""

    slope: float
    reach: float


def check_memorizing(net: Network, X, Y, key=None) -> tuple[Line, Ramp]:
    """Refuse what the theorem does not cover; otherwise the projection, and σ as a ramp."""
    ramp = as_ramp(net.activation)
    if ramp is None:
        raise HypothesisError(
            MEMORIZING,
            "an activation that is a ramp seen from afar",
            f"{net.activation.name} is not such a ramp",
            "but σ(z) = z far to the right and αz with α < 1 far to the left is needed",
            "Try: relu, leaky_relu, mollified_relu or softplus; or `pull_back`, which takes every "
            "activation if the inputs are affinely independent.",
        )
    if net.L == 0:
        raise HypothesisError(
            MEMORIZING,
            "a hidden layer",
            "L = 0",
            "but L ≥ 1 is needed",
            "Try: add a hidden layer of N - 1 neurons.",
        )
    samples = _distinct(MEMORIZING, X, Y)
    n, M = len(samples), net.widths[-2]
    if n - 1 > M:
        N = "N" if n == X.shape[1] else "the number of distinct inputs"
        raise HypothesisError(
            MEMORIZING,
            f"a last hidden width of at least {N} - 1",
            f"M_{net.L} = {M}",
            f"but {n - 1} is needed",
            f"Try: widen the last hidden layer to {n - 1} neurons; or `pull_back`, if the inputs "
            "are affinely independent; or `class_index`, if the labels are classes.",
        )
    return _project(MEMORIZING, X, samples, key), ramp


def check_class_index(X, labels, key=None) -> Line:
    """Refuse what the theorem does not cover; otherwise the projection."""
    return _project(CLASS_INDEX, X, _distinct(CLASS_INDEX, X, labels[None]), key)


@functools.cache
def as_ramp(sigma: Activation) -> Ramp | None:
    """σ as a ramp, tested at powers of two; None if it is none."""
    z = 2.0 ** np.arange(41)
    right, left = entrywise(sigma, np.stack([z, -z]))
    slope = 0.0 - left[-1] / z[-1]
    close = np.finfo(float).eps / 4
    far = (np.abs(right - z) <= close * z) & (np.abs(left + slope * z) <= close * z)
    if not (far[-20:].all() and -1 <= slope < 1):
        return None
    return Ramp(slope, z[len(z) - np.argmin(far[::-1])] if not far.all() else 1.0)


def equal_inputs(X: np.ndarray) -> np.ndarray:
    """For each sample the number of the first one with the same input."""
    _, first, group = np.unique(X + 0.0, axis=1, return_index=True, return_inverse=True)
    return first[group.ravel()]


def _distinct(theorem: str, X, Y) -> np.ndarray:
    """One sample of each set of equal inputs, whose labels must agree."""
    first = equal_inputs(X)
    differ = (Y != Y[:, first]).any(axis=0)
    if differ.any():
        j = int(differ.argmax())
        raise HypothesisError(
            theorem,
            "distinct inputs, or equal labels where they coincide",
            f"samples {first[j]} and {j} have equal inputs",
            "but different labels",
            "No network fits both. Try: drop one of them, or tell them apart by another feature.",
        )
    return np.unique(first)


def _project(theorem: str, X, samples, key) -> Line:
    """The best of 256 random projections: half of them see all features in the same units."""
    rng = np.random.default_rng(0) if key is None else _random.generator(key)
    points = X[:, samples]
    if len(samples) == 1:
        return Line(samples, np.zeros(len(X)), 1.0, 1.0)
    largest, spread = np.abs(points).max(axis=1), np.ptp(points, axis=1)
    V = rng.normal(size=(256, len(X)))
    V[::2] *= np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-14 * largest)
    T = np.sort(V @ points, axis=1)
    sizes = np.abs(V) @ largest
    gaps = np.diff(T, axis=1).min(axis=1) / np.where(sizes > 0, sizes, 1.0)
    best = gaps.argmax()
    v, (low, high), gap = V[best], T[best, [0, -1]], float(gaps[best])
    if gap < RESOLVED:
        order = np.argsort(v @ points)
        i, j = np.sort(samples[order[np.diff((v @ points)[order]).argmin() + np.arange(2)]])
        raise HypothesisError(
            theorem,
            "inputs that a projection tells apart in double precision",
            f"samples {i} and {j} project to values {gap:.0e} of their size apart",
            f"but {RESOLVED:.0e} is needed",
            "Try: subtract the mean of the inputs, or drop one of the two samples.",
        )
    v = v / (high - low)
    return Line(samples, v, 1.0 - low / (high - low), gap)


def interpolate(t: np.ndarray, Y: np.ndarray, ramp: Ramp) -> tuple[Layer, Layer]:
    """Two layers that take the n numbers t, through n - 1 ramps, to the columns of Y.

    Let S_k be the slope of the output between kinks k and k + 1. It takes label k to label k + 1
    if before_k S_{k-1} + after_k S_k is their difference, where kink k is `before_k` after sample k
    and `after_k` before sample k + 1. Left of all kinks every unit has α times its slope to the
    right, so S_0 = α S_{n-1} closes the system. The bend at kink k is (S_k - S_{k-1}) / (1 - α).
    """
    order = np.argsort(t)
    t, Y, n = t[order], Y[:, order], len(t)
    if n == 1:
        return Layer(np.zeros((0, 1)), np.zeros(0)), Layer(np.zeros((len(Y), 0)), Y[:, 0])
    # Two things keep rounding from adding up over the samples: distances are taken from the kinks
    # as rounded, and steepnesses are powers of two, so that all units see the same t.
    kinks = t[:-1] + SHIFT * np.diff(t)
    before, after = kinks - t[:-1], t[1:] - kinks
    steep = np.exp2(np.ceil(np.log2(ramp.reach / before)))
    bands = np.array([after, [*before[1:], 0.0]])
    steps = np.vstack([np.diff(Y), np.zeros(n - 1)])
    steps[-1, 0] = -before[0]  # the last right-hand side gives what S_0 = 1 adds
    S = np.hstack([np.zeros((len(steps), 1)), scipy.linalg.solve_banded((1, 0), bands, steps.T).T])
    S[-1, 0] = 1.0
    S0 = ramp.slope * S[:-1, -1] / (1 - ramp.slope * S[-1, -1])
    bends = np.diff(S[:-1] + np.outer(S0, S[-1])) / (1 - ramp.slope)
    start = Y[:, 0] - ramp.slope * bends @ (t[0] - kinks)
    return Layer(steep[:, None], -steep * kinks), Layer(bends / steep, start)


def padded(net: Network, layers) -> Params:
    """The layers, completed by idle neurons to the widths of the network."""
    shapes = zip(net.widths[1:], net.widths[:-1], strict=True)
    full = [Layer(np.zeros(shape), np.zeros(shape[0])) for shape in shapes]
    for (W, b), layer in zip(full, layers, strict=True):
        W[: layer.W.shape[0], : layer.W.shape[1]] = layer.W
        b[: len(layer.b)] = layer.b
    return tuple(jax.tree.map(_checks.array, full))
