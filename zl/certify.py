"""Proofs by ball arithmetic: the exact cost, a Jacobian of full rank, an exact fit nearby.

A floating-point cost of 1e-30 is not 0, and a smallest singular value of 1e-9 may be rounding.
Here every number is a ball, a midpoint with a radius that bounds all rounding errors
(python-flint), and the inputs are the doubles as given, each an exact binary rational. A
certificate is a proof; where none is found, a `CertificateError` says what stood in its way.

Costs: a proof evaluates the network a few times in 128 to 1024 bits and inverts QN × QN matrices.
That takes a fraction of a second up to QN = 100 and some seconds at QN = 300.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import NamedTuple

import numpy as np
from flint import arb, arb_mat, ctx
from jaxtyping import Array, Float

from zl import _checks
from zl._families import family
from zl.errors import CertificateError, HypothesisError
from zl.network import Layer, Network, Params, check_params

__all__ = ["FullRank", "Zero", "cost", "full_rank", "zero_exists"]

PRECISIONS = (128, 256, 512, 1024)  # bits, tried in this order
STEPS = 16  # Newton steps at one precision


@dataclass(frozen=True)
class FullRank:
    """A proof that the training Jacobian D has rank QN.

    Attributes:
        rank: QN, the number of rows of D.
        sigma_min: a proved positive lower bound on the smallest singular value of D.
        precision: the bits that the proof took.

    Example:
        >>> net = zl.Network((2, 1), "identity")
        >>> params = (zl.Layer([[0.0, 0.0]], [0.0]),)
        >>> print(zl.certify.full_rank(net, params, [[1.0, 0.0], [0.0, 1.0]]))
        proved in 128-bit balls: rank D = QN = 2, σ_min(D) ≥ 0.999
    """

    rank: int
    sigma_min: float
    precision: int

    def __str__(self) -> str:
        return (
            f"proved in {self.precision}-bit balls: rank D = QN = {self.rank}, "
            f"σ_min(D) ≥ {_shown(self.sigma_min, ROUND_FLOOR)}"
        )


@dataclass(frozen=True, eq=False)  # matrices have no truth value
class Zero:
    """A proof that an exact zero-loss minimizer θ* lies near given parameters.

    Attributes:
        params: the parameters that were given, the centre of the ball that contains θ*.
        radius: |θ* - params| is at most this (Euclidean, over all weights and biases).
        sigma_min: a proved positive lower bound on σ_min(D) at θ*. So D has rank QN there, and
            the zero-loss set is a smooth manifold of dimension K - QN around θ*.
        center: refined parameters, a tuple of `Layer(W, b)` of exact `flint.arb_mat`.
        center_radius: |θ* - center| is at most this.
        residual: a proved upper bound on |x[center] - y|.
        lipschitz: a proved Lipschitz constant of D on the ball of `center_radius` about `center`.
        precision: the bits that the proof took.

    The proof is 4·lipschitz·residual ≤ s², where s bounds σ_min(D) at `center` from below.

    Example:
        >>> net = zl.Network((1, 1, 1), "tanh")
        >>> params = (zl.Layer([[0.5]], [0.0]), zl.Layer([[2.0]], [0.0]))
        >>> print(zl.certify.zero_exists(net, params, [[1.0, 2.0]], [[0.92, 1.52]]))
        proved in 128-bit balls: x[θ*] = y for some θ* within 0.00183 of params, σ_min(D) ≥ 0.542
    """

    params: Params = field(repr=False)
    radius: float
    sigma_min: float
    center: tuple[Layer, ...] = field(repr=False)
    center_radius: float
    residual: float
    lipschitz: float
    precision: int

    def __str__(self) -> str:
        return (
            f"proved in {self.precision}-bit balls: x[θ*] = y for some θ* within "
            f"{_shown(self.radius, ROUND_CEILING)} of params, "
            f"σ_min(D) ≥ {_shown(self.sigma_min, ROUND_FLOOR)}"
        )


def cost(
    net: Network,
    params: Params,
    X: Float[Array, "M0 N"],
    Y: Float[Array, "Q N"],
    *,
    precision: int = 128,
) -> arb:
    """Enclose the cost C = (1/2N) |x[θ] - y|² of these very numbers in a ball.

    Where `zl.cost` rounds, this keeps account: C, evaluated without any rounding at the doubles as
    given, lies in the ball. So `C > 0` is a proof if it is True; if it is False, the ball contains
    0, and more bits may help.

    Args:
        net: a network with an activation of `zl.activations`.
        params: its parameters.
        X: inputs (M0, N).
        Y: labels (Q, N).
        precision: the bits to calculate with, at least 2.

    Returns:
        A `flint.arb`.

    Raises:
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or the activation is not one of `zl.activations`, or the precision is below 2.

    Example:
        >>> net = zl.Network((1, 1, 1), "tanh")
        >>> params = (zl.Layer([[20.0]], [0.0]), zl.Layer([[1.0]], [0.0]))
        >>> C = zl.certify.cost(net, params, [[0.0, 1.0]], [[0.0, 1.0]])
        >>> C > 0, f"{float(C):.6g}"  # in double precision tanh 20 = 1, and the cost is 0.0
        (True, '1.80485e-35')
    """
    sigma, weights, X = _ball_activation(net), _exact_params(net, params), _exact_X(net, X)
    Y = _exact_Y(net, Y, X)
    if not isinstance(precision, int) or precision < 2:
        raise ValueError(f"precision must be an integer of at least 2 bits; it is {precision}.")
    with ctx.workprec(precision):
        error = _forward(sigma, weights, X)[2] - Y
        return sum((e * e for e in error.entries()), arb(0)) / (2 * X.ncols())


def full_rank(net: Network, params: Params, X: Float[Array, "M0 N"]) -> FullRank:
    """Prove that the training Jacobian D has rank QN.

    The matrix G = D Dᵀ is enclosed by balls from the layered formula and inverted in ball
    arithmetic. If that succeeds, G is invertible and, being positive semidefinite, has smallest
    eigenvalue 1/‖G⁻¹‖ ≥ ‖G⁻⁸‖_F^(-1/8). The bound on σ_min(D) is at most (QN)^(1/32) too small.

    Args:
        net: a network with an activation of `zl.activations` and K ≥ QN.
        params: its parameters.
        X: inputs (M0, N).

    Returns:
        A `FullRank` with `sigma_min`.

    Raises:
        HypothesisError: if K < QN.
        CertificateError: if no proof was found: D is rank deficient, or nearly so, or not defined
            because a pre-activation sits on a kink.
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or the activation is not one of `zl.activations`.

    Source: Lemma "A proof of full rank" of the book.

    Example:
        >>> import jax
        >>> net = zl.Network((5, 6, 2), "tanh")
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=5, N=4, Q=2)
        >>> certificate = zl.certify.full_rank(net, net.init(jax.random.key(1)), X)
        >>> certificate.rank, certificate.sigma_min > 0.1
        (8, True)
    """
    sigma, weights, X = _ball_activation(net), _exact_params(net, params), _exact_X(net, X)
    QN = _equations(net, X)
    for precision in PRECISIONS:
        with ctx.workprec(precision):
            state = _evaluate(sigma, weights, X)
            bound = _round_down(_sigma_min(_inverse(state.gram)))
            if bound > 0:
                return FullRank(QN, bound, precision)
    raise CertificateError(f"rank D = QN = {QN}", *_singular(state))


def zero_exists(
    net: Network, params: Params, X: Float[Array, "M0 N"], Y: Float[Array, "Q N"]
) -> Zero:
    """Prove that some θ* near params fits the data exactly: x[θ*] = y.

    Newton's method along the range of Dᵀ, in multiple precision, refines params to a centre with
    residual |x - y| ≤ ε. There, s ≤ σ_min(D) is proved as in `full_rank`, and κ, a Lipschitz
    constant of D on the ball of radius 2ε/s, follows from the norms of the layers. If
    4κε ≤ s², the simplified Newton map is a contraction of that ball's slice: θ* exists, and D
    has full rank at θ*.

    A certificate is a statement about θ*, not about params: an exact zero may lie within 1e-17 of
    parameters at which the cost, evaluated exactly, is positive.

    Args:
        net: a network with an activation of `zl.activations` and K ≥ QN.
        params: parameters that nearly fit, as from `zl.minimizers` or from training.
        X: inputs (M0, N).
        Y: labels (Q, N).

    Returns:
        A `Zero` with `radius`.

    Raises:
        HypothesisError: if K < QN.
        CertificateError: if no proof was found: there is no zero, or params are too far from it,
            or D is rank deficient there, or (ReLU, leaky ReLU) a kink is too near.
        ValueError: if an argument is empty, not finite, of the wrong shape or in single precision,
            or the activation is not one of `zl.activations`.

    Source: Theorem "A proof of an exact zero" of the book (Newton–Kantorovich).

    Example:
        >>> import jax
        >>> net = zl.Network((5, 6, 2), "tanh")
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=5, N=4, Q=2)
        >>> params = zl.minimizers.pull_back(net, X, Y)
        >>> zl.certify.zero_exists(net, params, X, Y).radius < 1e-12
        True
    """
    sigma, given, X = _ball_activation(net), _exact_params(net, params), _exact_X(net, X)
    Y = _exact_Y(net, Y, X)
    QN, weights = _equations(net, X), given
    for precision in PRECISIONS:
        with ctx.workprec(precision):
            weights, proof, rounding = _refine(sigma, given, weights, X, Y)
            if proof.holds:
                return _certificate(params, weights, proof, precision)
            if not rounding:
                break
    raise CertificateError(f"x[θ*] = y for some θ* near params (QN = {QN})", *_why(proof))


# --- the proof of an exact zero ------------------------------------------------------------------


class _Proof(NamedTuple):
    """The numbers of the contraction at a centre, each a rigorous bound (an exact arb)."""

    state: "_State"
    sigma_min: arb  # s ≤ σ_min(D)
    residual: arb  # ε ≥ |x - y|
    lipschitz: arb  # κ, on the ball of this radius:
    radius: arb  # 2ε/s
    moved: arb  # the distance from the given parameters
    kink: bool  # a pre-activation may cross a kink within that ball

    @property
    def holds(self) -> bool:
        s, eps, kappa = self.sigma_min, self.residual, self.lipschitz
        return s > 0 and 4 * kappa * eps <= s * s and self.sigma_there > 0 and not self.kink

    @property
    def sigma_there(self) -> float:
        """A lower bound on σ_min(D) in the whole ball, so at the zero."""
        return _round_down(self.sigma_min - self.lipschitz * self.radius)


def _refine(sigma, given, weights, X, Y) -> tuple[list[arb_mat], _Proof, bool]:
    """Newton steps until the proof succeeds and is sharp, or the residual stops falling.

    Returns the best centre, what is proved there, and whether more bits may help.
    """
    best, least, rounding = None, math.inf, False
    for _ in range(STEPS):
        state = _evaluate(sigma, weights, X)
        inverse = _inverse(state.gram)
        error = arb_mat(state.gram.nrows(), 1, (state.output - Y).transpose().entries())
        proof = _kantorovich(sigma, given, weights, state, inverse, error)
        if best and not proof.residual < least / 2:
            break
        best, least = (weights, proof), proof.residual
        step = inverse * error
        rounding = not _norm(x.rad() for x in step.entries()) < _norm(step.entries()) * 1e-6
        sharp = proof.holds and proof.radius <= proof.moved * 1e-6
        if sharp or not proof.sigma_min > 0:
            break
        weights = _newton_step(weights, state, step)
    return *best, rounding


def _kantorovich(sigma, given, weights, state, inverse, error) -> _Proof:
    s, eps = _sigma_min(inverse), _norm(error.entries())
    radius = (2 * eps / s).upper()
    kappa, kink = _lipschitz(sigma, weights, state, radius)
    moved = _norm(x for new, old in zip(weights, given, strict=True) for x in (new - old).entries())
    return _Proof(state, s, eps, kappa, radius, moved, kink)


def _lipschitz(sigma, weights, state, radius) -> tuple[arb, bool]:
    """A Lipschitz constant of D on a ball of parameters, and whether kinks spoil it.

    Along a segment θ + tδ, |δ| = 1, inside the ball, |Z_l'| ≤ a_l and |Z_l''| ≤ c_l (Frobenius)
    where a_l = |[X_{l-1}; 1]| + |W_l| τ a_{l-1}, c_l = 2τ a_{l-1} + |W_l| (μ a_{l-1}² + τ c_{l-1}),
    τ and μ bound σ' and σ'', and the norms are bounded over the ball. The last c is a Lipschitz
    constant of D: the second derivative of x is symmetric, so its values on the diagonal bound it.
    """
    tau, mu = sigma.steepest, sigma.bend
    a = c = arb(0)
    kink = False
    for l, (Wb, features) in enumerate(zip(weights, state.features, strict=True)):
        size = _norm(features.entries()) + tau * a * radius
        gain = _operator_norm(Wb) + radius
        a, c = size + gain * tau * a, 2 * tau * a + gain * (mu * a * a + tau * c)
        if sigma.kinked and l < len(state.hidden):
            kink |= not all(z.abs_lower() > a * radius for z in state.hidden[l])
    return c.upper(), kink


def _newton_step(weights, state, v):
    """θ - Dᵀv with Dᵀ applied layer by layer, rounded to exact numbers of the working precision."""
    v, N = v.entries(), state.output.ncols()
    Q = len(v) // N
    spread = arb_mat(len(v), N)
    for row, value in enumerate(v):
        spread[row, row // Q] = value
    return [
        (Wb - B.transpose() * spread * features.transpose()).mid()
        for Wb, B, features in zip(weights, state.signals, state.features, strict=True)
    ]


def _certificate(params, weights, proof, precision) -> Zero:
    return Zero(
        params=params,
        radius=_round_up(proof.moved + proof.radius),
        sigma_min=proof.sigma_there,
        center=tuple(_layer(Wb) for Wb in weights),
        center_radius=_round_up(proof.radius),
        residual=_round_up(proof.residual),
        lipschitz=_round_up(proof.lipschitz),
        precision=precision,
    )


def _layer(Wb) -> Layer:
    rows = Wb.tolist()
    return Layer(arb_mat([row[:-1] for row in rows]), arb_mat([row[-1:] for row in rows]))


# --- why a proof failed --------------------------------------------------------------------------


def _singular(state) -> tuple[str, str]:
    entries = state.gram.mid().entries()
    largest = max((abs(x) for x in entries), default=0)
    if not all(x.is_finite() for x in state.gram.entries()):
        return (
            f"Even in {PRECISIONS[-1]}-bit balls a pre-activation lies on the kink of the "
            "activation, where D is not defined.",
            "Try: parameters off the kink, or zl.symbolic, whose rational arithmetic needs no D.",
        )
    ratio = 0.0
    if largest > 0:
        G = np.reshape([float(x / largest) for x in entries], (state.gram.nrows(),) * 2)
        eigenvalues = np.linalg.eigvalsh(G)
        ratio = abs(eigenvalues[0]) / eigenvalues[-1]
    return (
        f"Even in {PRECISIONS[-1]}-bit balls D Dᵀ may be singular; in floating point its smallest "
        f"eigenvalue is {ratio:.1e} of the largest.",
        "Try: drop repeated samples, widen the layers, or perturb the parameters.",
    )


def _why(proof: _Proof) -> tuple[str, str]:
    s, eps, kappa = map(float, (proof.sigma_min, proof.residual, proof.lipschitz))
    if not s > 0:
        return _singular(proof.state)
    if proof.kink:
        return (
            f"Within {float(proof.radius):.1e} of the best centre, at which |x - y| ≤ {eps:.1e}, "
            "a pre-activation may cross the kink of the activation.",
            "Try: parameters off the kink, or an exact fit by zl.symbolic.",
        )
    return (
        f"At the best centre found, |x - y| ≤ ε = {eps:.1e}, σ_min(D) ≥ s = {s:.1e}, and D has "
        f"Lipschitz constant κ = {kappa:.1e} around it, but 4κε = {4 * kappa * eps:.1e} ≤ s² = "
        f"{s * s:.1e} is needed.",
        "Try: parameters that fit better, from a constructor of zl.minimizers or from training.",
    )


# --- networks in balls ---------------------------------------------------------------------------


class _BallActivation(NamedTuple):
    """σ and σ' of a ball, and upper bounds of |σ'| and of the Lipschitz constant of σ' over R.

    If `kinked`, σ' is a step function, and its constant 0 holds on either side of the kink.
    """

    value: Callable[[arb], arb]
    slope: Callable[[arb], arb]
    steepest: arb | int
    bend: arb | int
    kinked: bool = False


def _logistic(z):
    return 1 / (1 + (-z).exp())


def _softplus(z):
    return (z.exp() if z < 0 else (-z).exp()).log1p() + (0 if z < 0 else z)


# The maxima of |σ''|: 4/√27 for tanh, 1/√108 for sigmoid.
_SMOOTH = {
    "identity": _BallActivation(lambda z: z, lambda z: arb(1), 1, 0),
    "tanh": _BallActivation(arb.tanh, lambda z: z.sech() ** 2, 1, 4 / arb(27).sqrt()),
    "sigmoid": _BallActivation(
        _logistic, lambda z: 1 / (2 + z.exp() + (-z).exp()), arb(0.25), 1 / arb(108).sqrt()
    ),
    "softplus": _BallActivation(_softplus, _logistic, 1, arb(0.25)),
    "sin": _BallActivation(arb.sin, arb.cos, 1, 1),
}


def _piecewise_linear(low: float) -> _BallActivation:
    def slope(z):
        return arb(1) if z > 0 else arb(low) if z < 0 else arb("nan")

    return _BallActivation(lambda z: z.max(low * z), slope, 1, 0, kinked=True)


def _mollified(eps: float) -> _BallActivation:
    def value(z):  # |σ'| ≤ 1
        m = z.mid()
        exact = m if m >= eps else arb(0) if m <= -eps else (m + eps) ** 2 / (4 * arb(eps))
        return exact + arb(0, z.rad())

    def slope(z):
        m = z.mid()
        exact = arb(1) if m >= eps else arb(0) if m <= -eps else (m + eps) / (2 * arb(eps))
        return exact + arb(0, z.rad()) * bend

    bend = 1 / (2 * arb(eps))
    return _BallActivation(value, slope, 1, bend)


def _ball_activation(net: Network) -> _BallActivation:
    name, number = family(net.activation)
    if name == "mollified_relu":
        return _mollified(number)
    if name in ("relu", "leaky_relu"):
        return _piecewise_linear(number or 0.0)
    return _SMOOTH[name]


class _State(NamedTuple):
    """Everything about a network at one point, in balls; entry l - 1 belongs to layer l."""

    features: list[arb_mat]  # [X⁽ˡ⁻¹⁾; 1ᵀ]
    hidden: list[list[arb]]  # the entries of Z⁽ˡ⁾, without the output layer's
    output: arb_mat
    signals: list[arb_mat]  # the B_i⁽ˡ⁾, one below the other
    gram: arb_mat  # D Dᵀ


def _forward(sigma, weights, X) -> tuple[list[arb_mat], list[arb_mat], arb_mat]:
    """What enters the layers, [X⁽ˡ⁻¹⁾; 1ᵀ]; the Z⁽ˡ⁾ of the hidden ones; the output."""
    features, hidden = [_with_ones(X)], []
    for Wb in weights[:-1]:
        hidden.append(Wb * features[-1])
        features.append(_with_ones(_entrywise(sigma.value, hidden[-1])))
    return features, hidden, weights[-1] * features[-1]


def _evaluate(sigma: _BallActivation, weights: list[arb_mat], X: arb_mat) -> _State:
    features, hidden, output = _forward(sigma, weights, X)
    slopes = [_entrywise(sigma.slope, Z) for Z in hidden]
    Q, N = output.nrows(), output.ncols()
    signals = [arb_mat([[int(p == q) for p in range(Q)] for _ in range(N) for q in range(Q)])]
    for Wb, slope in zip(weights[:0:-1], slopes[::-1], strict=True):
        samples = slope.transpose().tolist()
        rows = (signals[0] * Wb).tolist()  # the last column belongs to the bias: zip leaves it out
        rows = [[x * y for x, y in zip(r, samples[i // Q])] for i, r in enumerate(rows)]  # noqa: B905
        signals.insert(0, arb_mat(rows))
    entries = [Z.entries() for Z in hidden]
    return _State(features, entries, output, signals, _gram(features, signals, Q))


def _gram(features, signals, Q) -> arb_mat:
    """D Dᵀ, the sum over the layers of (X⁽ˡ⁻¹⁾ᵀX⁽ˡ⁻¹⁾ + 11ᵀ)_{ij} B_i⁽ˡ⁾ B_j⁽ˡ⁾ᵀ."""
    QN = signals[0].nrows()
    total = arb_mat(QN, QN)
    for F, B in zip(features, signals, strict=True):
        samples, outputs = (F.transpose() * F).tolist(), (B * B.transpose()).tolist()
        total += arb_mat(
            [[samples[i // Q][j // Q] * outputs[i][j] for j in range(QN)] for i in range(QN)]
        )
    return total


def _entrywise(function, Z: arb_mat) -> arb_mat:
    return arb_mat(Z.nrows(), Z.ncols(), [function(z) for z in Z.entries()])


def _with_ones(X: arb_mat) -> arb_mat:
    return arb_mat(X.nrows() + 1, X.ncols(), X.entries() + [1] * X.ncols())


# --- bounds --------------------------------------------------------------------------------------


def _inverse(G: arb_mat) -> arb_mat:
    """An enclosure of the inverse, or NaN where G may be singular."""
    return G.inv(nonstop=True)


def _sigma_min(inverse: arb_mat) -> arb:
    """A lower bound on the smallest singular value of D from (D Dᵀ)⁻¹, or NaN."""
    power = inverse
    for _ in range(3):
        power = power * power
    return (1 / _norm(power.entries()).root(16)).lower()


def _norm(entries) -> arb:
    """An upper bound on the Euclidean norm."""
    return sum((x.abs_upper() ** 2 for x in entries), arb(0)).sqrt().upper()


def _operator_norm(Wb: arb_mat) -> arb:
    """An upper bound on |W|, the largest singular value: ‖(WᵀW)⁴‖_F^(1/8), in few bits."""
    with ctx.workprec(64):
        W = arb_mat([row[:-1] for row in Wb.tolist()])
        wide = W.ncols() > W.nrows()
        power = W * W.transpose() if wide else W.transpose() * W
        for _ in range(2):
            power = power * power
        return _norm(power.entries()).sqrt().sqrt().sqrt().upper()  # `root` fails at 0


def _round_down(x: arb) -> float:
    return math.nextafter(float(x.lower()), -math.inf)


def _round_up(x: arb) -> float:
    return math.nextafter(float(x.upper()), math.inf)


def _shown(x: float, rounding: str) -> str:
    """Three digits that still are a bound."""
    return str(Context(prec=3, rounding=rounding).create_decimal_from_float(x)).lower()


# --- what is asked of the arguments --------------------------------------------------------------


def _exact_params(net: Network, params: Params) -> list[arb_mat]:
    """[W | b] of each layer."""
    return [arb_mat(np.column_stack([W, b]).tolist()) for W, b in check_params(net, params)]


def _exact_X(net: Network, X) -> arb_mat:
    return arb_mat(np.asarray(_checks.matrix("X", X, rows=net.M0)).tolist())


def _exact_Y(net: Network, Y, X: arb_mat) -> arb_mat:
    return arb_mat(np.asarray(_checks.matrix("Y", Y, rows=net.Q, columns=X.ncols())).tolist())


def _equations(net: Network, X: arb_mat) -> int:
    """QN, if the network has that many parameters."""
    QN = net.Q * X.ncols()
    if net.K < QN:
        raise HypothesisError(
            "A proof of full rank",
            "an overparametrized network, K ≥ QN",
            f"K = {net.K}",
            f"but QN = {QN} is needed",
            "Try: wider layers or fewer samples.",
        )
    return QN
