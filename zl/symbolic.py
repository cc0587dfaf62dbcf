"""The same networks in SymPy, and exact fits in rational arithmetic.

`network` writes a small network's output and Jacobian as formulas. `pull_back`, `class_index` and
`truncating` construct parameters whose cost is not small but the rational number 0: for piecewise
linear activations everything stays rational. Exact matrices are NumPy arrays of
`fractions.Fraction` (dtype object): `@`, slicing and `.shape` work, `.astype(float)` gives the
nearest doubles, and `sympy.Matrix` displays them.
"""

import functools
import itertools
import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import sympy as sp
from flint import fmpq, fmpq_mat

from zl import _checks, activations
from zl._families import family
from zl.activations import Activation
from zl.errors import HypothesisError
from zl.minimizers.regression import dependent
from zl.minimizers.truncation import TRUNCATING, separating_sequence, truncating_widths
from zl.network import Layer, Network, pairs

__all__ = [
    "SymbolicNetwork",
    "activation",
    "apply",
    "class_index",
    "cost",
    "network",
    "pull_back",
    "truncating",
]

Exact = tuple[Layer, ...]  # with arrays of Fraction


# --- formulas ------------------------------------------------------------------------------------


class SymbolicNetwork(NamedTuple):
    """A network as formulas. Unpack it, or use the names.

    Attributes:
        X: the symbols of the inputs, M0 × N.
        parameters: the K symbols, layer by layer: W row by row, then b.
        output: the network's output, Q × N.
        jacobian: the derivative of the outputs, stacked sample by sample, with respect to the
            parameters: QN × K, like `zl.training_jacobian`.

    Example:
        >>> X, parameters, output, jacobian = zl.symbolic.network((1, 1), "identity", N=2)
        >>> parameters, jacobian
        ((W_1_1_1, b_1_1), Matrix([
        [x_1_1, 1],
        [x_1_2, 1]]))
    """

    X: sp.ImmutableMatrix
    parameters: tuple[sp.Symbol, ...]
    output: sp.ImmutableMatrix
    jacobian: sp.ImmutableMatrix


def activation(sigma: str | Activation, z: sp.Expr) -> sp.Expr:
    """σ(z) as a SymPy expression.

    The piecewise activations are written with Max, which SymPy handles far faster than Piecewise
    once layers are nested; its derivative is a Heaviside step, 1/2 at a kink.

    Args:
        sigma: an activation of `zl.activations`, or its name. The slope of leaky ReLU and the ε of
            mollified ReLU are the doubles as given, which are exact binary fractions.
        z: a SymPy expression.

    Returns:
        A SymPy expression.

    Raises:
        ValueError: if there is no such activation.

    Example:
        >>> import sympy as sp
        >>> zl.symbolic.activation("sigmoid", sp.Symbol("z"))
        1/(1 + exp(-z))
    """
    name, number = family(activations.get(sigma))
    number = None if number is None else sp.Rational(Fraction(number))
    z = sp.sympify(z)
    return {
        "identity": lambda: z,
        "tanh": lambda: sp.tanh(z),
        "sigmoid": lambda: 1 / (1 + sp.exp(-z)),
        "softplus": lambda: sp.log(1 + sp.exp(z)),
        "sin": lambda: sp.sin(z),
        "relu": lambda: sp.Max(0, z),
        "leaky_relu": lambda: number * z + (1 - number) * sp.Max(0, z),
        "mollified_relu": lambda: (
            (sp.Max(0, z + number) ** 2 - sp.Max(0, z - number) ** 2) / (4 * number)
        ),
    }[name]()


def network(widths: Sequence[int], activation: str | Activation, N: int = 1) -> SymbolicNetwork:
    """A network's output and training Jacobian as formulas.

    The Jacobian is what SymPy's differentiation gives, not the formula of the backward signals:
    the one can check the other. Meant for small networks: it has Q·N·K entries.

    Args:
        widths: (M₀, M₁, …, M_L, Q), as for `zl.Network`.
        activation: an activation of `zl.activations`, or its name.
        N: the number of samples.

    Returns:
        A `SymbolicNetwork`. Its real symbols are called ``x_1`` (``x_1_2`` for sample 2 where
        N > 1), ``W_1_2_3`` (layer 1, row 2, column 3) and ``b_1_2``.

    Raises:
        ValueError: if the widths, N or the activation are not valid.

    Source: "Setting" of the book.

    Example:
        >>> net = zl.symbolic.network((1, 1, 1), "tanh")
        >>> net.output[0]
        W_2_1_1*tanh(W_1_1_1*x_1 + b_1_1) + b_2_1
        >>> net.jacobian[2:]
        [tanh(W_1_1_1*x_1 + b_1_1), 1]
    """
    shape = Network(widths, activation)
    _checks.positive_integers(N=N)
    sample = (lambda i: "") if N == 1 else (lambda i: f"_{i + 1}")
    X = sp.ImmutableMatrix(shape.M0, N, lambda r, i: sp.Symbol(f"x_{r + 1}{sample(i)}", real=True))
    parameters, features = [], X
    for l, (m, n) in enumerate(itertools.pairwise(shape.widths), start=1):
        W = sp.Matrix(n, m, lambda r, c, l=l: sp.Symbol(f"W_{l}_{r + 1}_{c + 1}", real=True))
        b = sp.Matrix(n, 1, lambda r, _, l=l: sp.Symbol(f"b_{l}_{r + 1}", real=True))
        parameters += [*W, *b]
        Z = W * features + b * sp.ones(1, N)
        features = Z.applyfunc(functools.partial(_sigma, shape.activation))
    by_sample = sp.Matrix(list(Z.T))
    return SymbolicNetwork(
        X,
        tuple(parameters),
        sp.ImmutableMatrix(Z),
        sp.ImmutableMatrix(by_sample.jacobian(parameters)),
    )


_sigma = activation  # `network` has an argument of that name


# --- exact fits ----------------------------------------------------------------------------------


def apply(net: Network, params: Exact, X) -> np.ndarray:
    """The network's output, exactly.

    Args:
        net: a network with a piecewise polynomial activation: identity, ReLU, leaky ReLU or
            mollified ReLU.
        params: a tuple of `Layer(W, b)` of rational numbers; floats are taken as the exact binary
            fractions they are.
        X: inputs (M0, N), rational likewise: an array, nested lists, or a SymPy matrix.

    Returns:
        The output (Q, N), an array of `Fraction`.

    Raises:
        ValueError: if a shape does not fit, an entry is not a finite rational number, or the
            activation is another.

    Example:
        >>> net = zl.Network((1, 1, 1), "relu")
        >>> params = (zl.Layer([[1]], [-1]), zl.Layer([[0.5]], [0]))
        >>> zl.symbolic.apply(net, params, [[0, 2]])
        array([[Fraction(0, 1), Fraction(1, 2)]], dtype=object)
    """
    return _array(_output(net, params, _matrix("X", X, rows=net.M0)))


def cost(net: Network, params: Exact, X, Y) -> Fraction:
    """The cost C = (1/2N) Σᵢ |x(xᵢ) - yᵢ|², as an exact rational number.

    Args:
        net: a network with identity, ReLU, leaky ReLU or mollified ReLU.
        params: a tuple of `Layer(W, b)` of rational numbers, floats as the fractions they are.
        X: inputs (M0, N), rational likewise.
        Y: labels (Q, N), rational likewise.

    Returns:
        A `Fraction`.

    Raises:
        ValueError: if a shape does not fit, an entry is not a finite rational number, or the
            activation is another.

    Example:
        >>> net = zl.Network((1, 1, 1), "relu")
        >>> params = (zl.Layer([[1]], [-1]), zl.Layer([[0.5]], [0]))
        >>> zl.symbolic.cost(net, params, [[0, 2]], [[0, 2]])
        Fraction(9, 16)
    """
    X = _matrix("X", X, rows=net.M0)
    Y = _matrix("Y", Y, rows=net.Q, columns=X.ncols())
    error = _output(net, params, X) - Y
    return _fraction(sum((e * e for e in error.entries()), fmpq(0)) / (2 * X.ncols()))


def pull_back(net: Network, X, Y, *, fill: Fraction | float = Fraction(1, 100)) -> Exact:
    """Zero loss by pulling the labels back through the network, in rational arithmetic.

    The same construction as `zl.minimizers.pull_back` without a key, where σ is the identity on
    the targets: for hidden widths of at least Q its result rounds to the same parameters.

    Args:
        net: a network with leaky ReLU, ReLU or identity, whose hidden widths are all at least the
            rank of the centred labels.
        X: affinely independent inputs (M0, N): rational numbers, floats as the exact binary
            fractions they are; an array, nested lists, or a SymPy matrix.
        Y: any labels (Q, N), rational likewise.
        fill: in (0, 1), the part of the activation's window that the targets fill.

    Returns:
        Parameters with C = 0, as a tuple of `Layer(W, b)` of arrays of `Fraction`.

    Raises:
        HypothesisError: if a hidden width is smaller than that rank, or the inputs are affinely
            dependent. Ranks are exact.
        ValueError: if a shape does not fit, an entry is not a finite rational number, the
            activation is another, or fill is not in (0, 1).

    Source: Theorem "Zero loss in rational numbers" of the book, after [CM] Theorem 2.1.

    Example:
        >>> net = zl.Network((2, 2, 1), "leaky_relu")
        >>> X, Y = [[1, 0, 2], [0, 1, 5]], [[1, 0.5, -7]]
        >>> zl.symbolic.cost(net, zl.symbolic.pull_back(net, X, Y), X, Y)
        Fraction(0, 1)
    """
    theorem = "Pulling back ([CM] Theorem 2.1, sharper form)"
    if family(net.activation)[0] not in ("identity", "relu", "leaky_relu"):
        raise ValueError(
            f"pulling back through {net.activation.name} leaves the rational numbers: leaky_relu, "
            "relu or identity is needed. Try: zl.certify.zero_exists, which proves a zero."
        )
    X = _matrix("X", X, rows=net.M0)
    Y = _matrix("Y", Y, rows=net.Q, columns=X.ncols())
    if not 0 < fill < 1:
        raise ValueError(f"fill must lie in (0, 1); it is {fill}.")
    fill, centre = _fmpq(fill), int(net.activation.window[0])
    B, T, mean = _label_space(theorem, net, Y)  # Y = mean 1ᵀ + B T
    later = []
    for _ in range(net.L):
        middle = _row_means(T)
        U = _shifted(T, [-m for m in middle])
        scale = (max(map(abs, U.entries())) or fmpq(1)) / fill
        later.insert(0, (_scaled_eye(len(middle), scale), [m - scale * centre for m in middle]))
        T = _shifted(U / scale, [fmpq(centre)] * len(middle))
    layers = [_first_layer(theorem, X, T), *later]
    W, b = layers[-1]
    layers[-1] = (B * W, (B * _column(b) + _column(mean)).entries())
    shapes = zip(layers, net.widths[1:], net.widths[:-1], strict=True)
    return tuple(_embed(W, b, rows, columns, centre) for (W, b), rows, columns in shapes)


def class_index(X, labels: Sequence[int]) -> tuple[Network, Exact]:
    """An exact classifier through the number of the class, in rational arithmetic.

    A projection with small integer weights separates the inputs; N - 1 ramps of its value, with
    kinks halfway between neighbours, compute the number of the class; Q - 1 ramps of that number
    compute the one-hot label.

    Args:
        X: distinct inputs (M0, N): rational numbers, floats as the exact binary fractions
            they are; an array, nested lists, or a SymPy matrix.
        labels: N class numbers, integers from 0, not all the same. Q is the largest plus one.

    Returns:
        A ReLU network of widths (M0, 1, N - 1, 1, Q - 1, Q), and parameters (arrays of `Fraction`)
        with C = 0 for the one-hot labels. K = 3N + M0 + Q² + 2Q - 3, which is below QN for Q ≥ 4
        and large N.

    Raises:
        HypothesisError: if two inputs coincide.
        ValueError: if an entry is not a finite rational number, or the labels are not N integers
            from 0 with at least two classes.

    Source: Theorem "class index" of the book (one-hot labels are not generic).

    Example:
        >>> X, labels = [[0, 3, 1, 2], [0, 0, 0, 1]], [1, 0, 0, 2]
        >>> net, params = zl.symbolic.class_index(X, labels)
        >>> Y = [[int(c == q) for c in labels] for q in range(3)]
        >>> net.widths, zl.symbolic.cost(net, params, X, Y)
        ((2, 1, 3, 1, 2, 3), Fraction(0, 1))
    """
    X = _matrix("X", X)
    M0, N = X.nrows(), X.ncols()
    classes = _classes(labels, N)
    v, t = _separating_projection(X)
    c = 1 - min(t)
    order = sorted(range(N), key=t.__getitem__)
    t = [t[i] + c for i in order]
    numbers = [fmpq(classes[i] + 1) for i in order]
    Q = max(classes) + 1
    one_hot = [[fmpq(int(p == q)) for p in range(Q)] for q in range(Q)]
    (W2, b2), (W3, b3) = _ramps(t, [numbers])
    (W4, b4), (W5, b5) = _ramps([fmpq(q + 1) for q in range(Q)], one_hot)
    layers = (fmpq_mat(1, M0, v), [c]), (W2, b2), (W3, b3), (W4, b4), (W5, b5)
    net = Network((M0, 1, N - 1, 1, Q - 1, Q), "relu")
    return net, tuple(Layer(_array(W), _array(_column(b))[:, 0]) for W, b in layers)


def truncating(X, labels: Sequence[int]) -> tuple[Network, Exact]:
    """An exact classifier of sequentially separable classes, in rational arithmetic.

    Linear programming in doubles proposes an order of the classes and affine functions h_k. Exact
    arithmetic confirms that h_k separates class k from all later ones, and scales it: h_k ≤ -1 on
    class k, h_k ≥ 1 on later ones. With ρ = max |h_k(x)| and u = h(x), layer k sends class k to
    its tip p, by the cone {W(u - p) ≥ 0}, W = 1aᵀ + I/(2ρ + 4); a = e_k and p = 1 - e_k in all
    layers but the last. The output layer reads off the barycentric coordinates of the Q tips.

    Args:
        X: inputs (M0, N): rational numbers, floats as the exact binary fractions they are; an
            array, nested lists, or a SymPy matrix.
        labels: N class numbers, integers from 0, not all the same. Q is the largest plus one.

    Returns:
        A ReLU network like that of `zl.minimizers.truncating`, and parameters (arrays of
        `Fraction`) with C = 0 for the one-hot labels. K does not depend on N.

    Raises:
        HypothesisError: if the classes are not sequentially linearly separable.
        ValueError: if an entry is not a finite rational number, or the labels are not N integers
            from 0 with at least two classes.

    Source: Theorem "zero loss by truncation" of the book, after [CE24].

    Example:
        >>> X, labels = [[0, 1, 2, 3, 4, 5]], [1, 1, 0, 0, 2, 2]
        >>> net, params = zl.symbolic.truncating(X, labels)
        >>> Y = [[int(c == q) for c in labels] for q in range(3)]
        >>> net.widths, zl.symbolic.cost(net, params, X, Y)
        ((1, 2, 2, 2, 3), Fraction(0, 1))
    """
    A = _matrix("X", X)
    classes = _classes(labels, A.ncols())
    Q = max(classes) + 1
    order, h = separating_sequence(np.array(_listed(X), float), np.array(classes))
    T, s, rho = _normalized(A, [order.index(q) for q in classes], _matrix("h", h.W))
    M = len(order) - 1
    unit = _scaled_eye(M, fmpq(1)).tolist()
    axes = [*unit, [fmpq(-1)] * M]
    tips = [[1 - x for x in row] for row in unit] + [[1 - fmpq(1, 2 * M)] * M]
    layers = []
    for a, p in zip(axes, tips, strict=True):
        W = fmpq_mat([a] * M) + _scaled_eye(M, 1 / (2 * rho + 4))
        layers.append((W * T, (W * (_column(s) - _column(p))).entries()))
        T, s = W.inv(), p  # u = T X + s
    rows = [[-x - fmpq(1, M) for x in row] for row in unit] + [[2] * M]
    B, c = fmpq_mat(rows), [fmpq(2 * M - 1, M)] * M + [fmpq(2 - 2 * M)]
    named = fmpq_mat([[int(order[k] == q) for k in range(M + 1)] for q in range(Q)])
    layers.append((named * B * T, (named * (B * _column(s) + _column(c))).entries()))
    net = Network(truncating_widths(A.nrows(), M + 1, Q), "relu")
    return net, tuple(Layer(_array(W), _array(_column(b))[:, 0]) for W, b in layers)


# --- the constructions' parts, in fmpq_mat --------------------------------------------------------


def _output(net: Network, params: Exact, X: fmpq_mat) -> fmpq_mat:
    sigma = _rational_activation(net)
    layers = [
        (_matrix(f"params[{l}].W", W), _matrix(f"params[{l}].b", [[x] for x in _listed(b)]))
        for l, (W, b) in enumerate(pairs(params))
    ]
    net._check([(_shape(W), _shape(b, 1)) for W, b in layers])
    for l, (W, b) in enumerate(layers):
        if l > 0:
            X = fmpq_mat(X.nrows(), X.ncols(), [sigma(z) for z in X.entries()])
        X = _shifted(W * X, b.entries())
    return X


def _rational_activation(net: Network):
    name, number = family(net.activation)
    if name == "mollified_relu":
        eps = _fmpq(number)
        return lambda z: z if z >= eps else max(z + eps, fmpq(0)) ** 2 / (4 * eps)
    slopes = {"identity": 1, "relu": 0, "leaky_relu": number}
    if name not in slopes:
        raise ValueError(
            f"{name} takes rational numbers to irrational ones; identity, relu, leaky_relu or "
            "mollified_relu is needed. Try: zl.certify, which encloses them."
        )
    low = _fmpq(slopes[name])
    return lambda z: z if z >= 0 else low * z


def _label_space(theorem: str, net: Network, Y: fmpq_mat):
    """B, T and mean with Y = B T + mean 1ᵀ, where B has as many columns as neurons are needed."""
    mean = _row_means(Y)
    centred = _shifted(Y, [-m for m in mean])
    narrowest = min(net.widths[1:])
    if narrowest >= net.Q:
        return _scaled_eye(net.Q, fmpq(1)), centred, mean
    echelon, rank = centred.rref()
    if narrowest < rank:
        l = net.widths.index(narrowest, 1)
        raise HypothesisError(
            theorem,
            "hidden widths of at least the rank of the centred labels",
            f"M_{l} = {narrowest}",
            f"but rank (Y - ȳ1ᵀ) = {rank} is needed (Q = {net.Q} always suffices)",
            f"Try: widen layer {l} to {rank} neurons or more.",
        )
    rows = echelon.tolist()[: max(rank, 1)]
    pivots = [next((i for i, x in enumerate(row) if x != 0), 0) for row in rows]
    columns = centred.transpose().tolist()
    return fmpq_mat([columns[i] for i in pivots]).transpose(), fmpq_mat(rows), mean


def _first_layer(theorem: str, X: fmpq_mat, Z: fmpq_mat):
    """The solution of least norm of [W, b/c] [X; c 1ᵀ] = Z, where c is the size of X."""
    M0, N = X.nrows(), X.ncols()
    size = max(map(abs, X.entries())) or fmpq(1)
    A = fmpq_mat(M0 + 1, N, X.entries() + [size] * N)
    rank = A.rank()
    if rank < N:
        raise dependent(theorem, rank, M0, N)
    Wb = ((A.transpose() * A).solve(Z.transpose()).transpose() * A.transpose()).tolist()
    return fmpq_mat([row[:-1] for row in Wb]), [size * row[-1] for row in Wb]


def _embed(W: fmpq_mat, b: list[fmpq], rows: int, columns: int, centre: int) -> Layer:
    """The live block of a layer, completed by neurons that stay at the window's centre."""
    m, n, scale = W.nrows(), W.ncols(), W[0, 0]
    full = fmpq_mat(rows, columns)
    full_b = [*b, *[fmpq(centre)] * (rows - m)]
    for i, j in itertools.product(range(m), range(n)):
        full[i, j] = W[i, j]
    for i in range(max(m, n), min(rows, columns)):
        full[i, i] = scale
        full_b[i] -= scale * centre
    return Layer(_array(full), _array(_column(full_b))[:, 0])


def _separating_projection(X: fmpq_mat) -> tuple[list[int], list[fmpq]]:
    """v and t = vᵀX with distinct entries: each entry of v the smallest that merges no two samples.

    Two samples that differ in t or in the next coordinate x have the same t + c x for at most one
    c, so the search for c ends.
    """
    v, t = [], [fmpq(0)] * X.ncols()
    for x in X.tolist():
        distinct = len(set(zip(t, x, strict=True)))
        projected = ([a + c * b for a, b in zip(t, x, strict=True)] for c in itertools.count())
        c, t = next((c, p) for c, p in enumerate(projected) if len(set(p)) == distinct)
        v.append(c)
    if len(set(t)) < len(t):
        raise HypothesisError(
            'Theorem "class index"',
            "distinct inputs",
            f"{len(set(t))} are distinct",
            f"but N = {len(t)} is needed",
            "Try: drop repeated samples.",
        )
    return v, t


def _normalized(X: fmpq_mat, place: list[int], T: fmpq_mat):
    """T and s with T x + s ≤ -1 in row k for the k-th class, ≥ 1 for later ones; max |T x + s|."""
    rows, s, rho = [], [], fmpq(1)
    for k, (row, values) in enumerate(zip(T.tolist(), (T * X).tolist(), strict=True)):
        below = max(u for u, j in zip(values, place, strict=True) if j == k)
        above = min(u for u, j in zip(values, place, strict=True) if j > k)
        if below >= above:
            raise HypothesisError(
                TRUNCATING,
                "sequentially linearly separable classes",
                f"the hyperplane number {k + 1} found in double precision misses by rounding",
                "but it must separate strictly",
                "Try: move the inputs to the origin, or round them to fewer digits.",
            )
        half, middle = (above - below) / 2, (above + below) / 2
        rows.append([w / half for w in row])
        s.append(-middle / half)
        rho = max(rho, *(abs(u - middle) / half for u in (min(values), max(values))))
    return fmpq_mat(rows), s, rho


def _ramps(t: list[fmpq], rows: list[list[fmpq]]):
    """Two layers that send t_1 < t_2 < … to the given values: ramps from the midpoints on."""
    gaps = [b - a for a, b in itertools.pairwise(t)]
    midpoints = [(a + b) / 2 for a, b in itertools.pairwise(t)]
    weights = []
    for values in rows:
        slopes = [fmpq(0)]
        for gap, (a, b) in zip(gaps, itertools.pairwise(values), strict=True):
            slopes.append(2 * (b - a) / gap - slopes[-1])  # each slope holds for half of two gaps
        weights.append([b - a for a, b in itertools.pairwise(slopes)])
    hidden = fmpq_mat([[1]] * len(gaps)), [-m for m in midpoints]
    return hidden, (fmpq_mat(weights), [values[0] for values in rows])


def _row_means(M: fmpq_mat) -> list[fmpq]:
    return [sum(row, fmpq(0)) / M.ncols() for row in M.tolist()]


def _shifted(M: fmpq_mat, b: list[fmpq]) -> fmpq_mat:
    """M + b 1ᵀ."""
    return M + _column(b) * fmpq_mat([[1] * M.ncols()])


def _column(b: list[fmpq]) -> fmpq_mat:
    return fmpq_mat(len(b), 1, b)


def _scaled_eye(n: int, scale: fmpq) -> fmpq_mat:
    return fmpq_mat([[scale if i == j else 0 for j in range(n)] for i in range(n)])


# --- exact numbers in and out --------------------------------------------------------------------


def _matrix(name: str, a, rows: int | None = None, columns: int | None = None) -> fmpq_mat:
    """A non-empty rational matrix of the given shape, or a ValueError that names the argument."""
    try:
        entries = [[_fmpq(x) for x in row] for row in _listed(a)]
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a matrix of finite rational numbers, one sample a column ({error})."
        ) from None
    lengths = {len(row) for row in entries}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"{name} must be a non-empty matrix; its rows have lengths {lengths}.")
    M = fmpq_mat(entries)
    _checks.columns_of(name, _shape(M), rows, columns)
    return M


def _classes(labels, N: int) -> list[int]:
    classes = np.asarray(labels)
    if classes.shape != (N,) or classes.dtype.kind not in "iu" or classes.min() < 0:
        raise ValueError(f"labels must be N = {N} integers from 0; they are {labels!r}.")
    if classes.min() == classes.max():
        raise ValueError(f"labels must contain two classes or more; all are {classes[0]}.")
    return classes.tolist()


def _listed(a):
    return a.tolist() if hasattr(a, "tolist") else a


def _shape(M: fmpq_mat, ndim: int = 2) -> np.ndarray:
    """Something that has the shape of M, for the checks that arrays share."""
    return np.empty((M.nrows(), M.ncols())[:ndim])


def _fmpq(x) -> fmpq:
    if isinstance(x, numbers.Rational):
        return fmpq(int(x.numerator), int(x.denominator))
    return fmpq(*x.as_integer_ratio())


def _fraction(x: fmpq) -> Fraction:
    return Fraction(int(x.p), int(x.q))


def _array(M: fmpq_mat) -> np.ndarray:
    out = np.empty((M.nrows(), M.ncols()), object)
    out[:] = [[_fraction(x) for x in row] for row in M.tolist()]
    return out
