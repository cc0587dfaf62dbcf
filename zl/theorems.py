"""Which theorems apply to a network and its data, by the numbers that decide."""

import html
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from zl import _checks
from zl._families import family
from zl.errors import HypothesisError
from zl.minimizers import backwards, ramps, regression, truncation
from zl.network import Network

__all__ = ["Guarantee", "Guarantees", "guarantees"]


@dataclass(frozen=True)
class Guarantee:
    """What one theorem says of a network and its data.

    Attributes:
        theorem: the theorem, with its source.
        holds: whether its hypotheses hold.
        because: the numbers that decide.
        call: if it holds and constructs parameters, the call that does.
        bound: if it holds and forbids zero loss, a number that C exceeds or equals for all θ.

    Example:
        >>> import jax
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> row = zl.guarantees(zl.Network((4, 6, 2), "tanh"), X, Y).rows[0]
        >>> row.holds, row.call
        (True, 'zl.minimizers.pull_back(net, X, Y)')
    """

    theorem: str
    holds: bool
    because: str
    call: str = ""
    bound: float = 0.0


@dataclass(frozen=True, repr=False)
class Guarantees:
    """A table of theorems. Prints well in a terminal and shows as HTML in a notebook.

    Attributes:
        net: the network asked about.
        rows: one `Guarantee` a theorem; iterating over the table yields them.

    Example:
        >>> import jax
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> zl.guarantees(zl.Network((4, 6, 2), "tanh"), X, Y).verdict
        'This network attains C = 0: zl.minimizers.pull_back(net, X, Y).'
    """

    net: Network
    rows: tuple[Guarantee, ...]

    def __iter__(self) -> Iterator[Guarantee]:
        return iter(self.rows)

    @property
    def bound(self) -> float:
        """The best lower bound on C for all parameters of this network; 0 if there is none."""
        return max(row.bound for row in self.rows)

    @property
    def verdict(self) -> str:
        """What the theorems together say, in a sentence or two."""
        calls = [row.call for row in self.rows if row.call]
        here = [call for call in calls if "(net," in call]
        elsewhere = [call for call in calls if "(net," not in call]
        if here:
            return f"This network attains C = 0: {here[0]}."
        if self.bound:
            said = f"No parameters of this network attain C = 0: C ≥ {_number(self.bound)}."
        else:
            said = "No theorem here decides whether this network attains C = 0."
        return said + (f" Another one does: {elsewhere[0]}." if elsewhere else "")

    def __str__(self) -> str:
        widths = (23, 5, 32, 34)
        table = [("theorem", "holds", "because", "call")]
        table += [(r.theorem, _yes(r), r.because, r.call or "-") for r in self.rows]
        lines = []
        for cells in table:
            wrapped = [textwrap.wrap(c, w) for c, w in zip(cells, widths, strict=True)]
            for i in range(max(map(len, wrapped))):
                parts = [w[i] if i < len(w) else "" for w in wrapped]
                line = "  ".join(p.ljust(w) for p, w in zip(parts, widths, strict=True))
                lines.append(line.rstrip())
            lines.append("")
        rule = "  ".join("-" * w for w in widths)
        return "\n".join([lines[0], rule, *lines[2:], *textwrap.wrap(self.verdict, 100)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(r: Guarantee) -> str:
            theorem, because, call = map(html.escape, (r.theorem, r.because, r.call))
            call = f"<code>{call}</code>" if call else "–"
            return (
                f'<tr><th scope="row">{theorem}</th>'
                f"<td>{_yes(r)}</td><td>{because}</td><td>{call}</td></tr>"
            )

        columns = ("theorem", "holds", "because", "call")
        head = "".join(f'<th scope="col">{name}</th>' for name in columns)
        return (
            f"<table><caption>{html.escape(self.verdict)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(row, self.rows))}</tbody></table>"
        )


def guarantees(net: Network, X: Float[Array, "M0 N"], Y: Float[Array, "Q N"]) -> Guarantees:
    """Which theorems on zero loss apply to this network and these data, and why.

    Three rows are about constructions for the network as it is, two about constructions that
    build a network of their own (if the labels are one-hot), three about what forbids zero loss.
    Every call in the table succeeds, up to rounding: `memorizing` and `class_index` leave a
    residual of about eps divided by the distance of the projections that is shown.

    Args:
        net: the network.
        X: inputs (M0, N).
        Y: labels (Q, N).

    Returns:
        The table, to print, to show, or to go through row by row.

    Raises:
        ValueError: if X or Y is empty, not finite, of the wrong shape or in single precision.

    Source: [CM] Theorem 2.1 and its positive sector, [Co] (its Lemma 3.3), [CE24], [CE] Theorem
    1.6, and the book's own sharper forms of them.

    Example:
        >>> import jax
        >>> net = zl.Network((4, 6, 1, 2), "tanh")
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=4, N=5, Q=2)
        >>> table = zl.guarantees(net, X, Y)
        >>> [row.theorem for row in table if row.holds]
        ['Narrow last hidden layer (the book)']
        >>> [row.because for row in table if row.theorem.startswith("Pulling back")]
        ['M_2 = 1, but rank (Y - ȳ1ᵀ) = 2 is needed (Q = 2 always suffices)']
    """
    X = np.asarray(_checks.matrix("X", X, rows=net.M0))
    Y = np.asarray(_checks.matrix("Y", Y, rows=net.Q, columns=X.shape[1]))
    rows = (
        _row(backwards.PULL_BACK, "pull_back(net, X, Y)", _pull_back, net, X, Y),
        _row(backwards.POSITIVE_SECTOR, "positive_sector(net, X, Y)", _sector, net, X),
        _row(ramps.MEMORIZING, "memorizing(net, X, Y)", _memorizing, net, X, Y),
        _row(truncation.TRUNCATING, "truncating(X, Y)", _truncating, X, Y),
        _row(ramps.CLASS_INDEX, "class_index(X, Y)", _class_index, X, Y),
        _duplicates(X, Y),
        _narrow(net, Y),
        _counting(net, Y),
    )
    return Guarantees(net, rows)


def _row(theorem: str, call: str, hypotheses, *arguments) -> Guarantee:
    """A construction: its own checks say what fails."""
    try:
        because = hypotheses(*arguments)
    except HypothesisError as error:
        return Guarantee(theorem, False, f"{error.found}, {error.needed}")
    own = "" if "net" in call else "net, params = "
    return Guarantee(theorem, True, because, f"{own}zl.minimizers.{call}")


def _pull_back(net, X, Y) -> str:
    backwards.label_space(net, Y)
    regression.factor(backwards.PULL_BACK, X)
    said = f"rank [X; 1] = N = {X.shape[1]}"
    if net.L == 0:
        return f"{said}; no hidden layer"
    width, rank = min(net.widths[1:-1]), backwards.label_rank(Y)
    return f"{said}, hidden widths ≥ {width} ≥ rank (Y - ȳ1ᵀ) = {rank}"


def _sector(net, X) -> str:
    backwards.check_sector(net)
    regression.factor(backwards.POSITIVE_SECTOR, X)
    return (
        f"rank [X; 1] = N = {X.shape[1]}, widths {' ≥ '.join(map(str, net.widths[1:]))}, "
        f"{net.activation.name} is unbounded above"
    )


def _memorizing(net, X, Y) -> str:
    line, _ = ramps.check_memorizing(net, X, Y)
    return (
        f"{len(line.samples)} distinct inputs, M_{net.L} = {net.widths[-2]} ≥ "
        f"{len(line.samples) - 1}, projections {line.gap:.0e} apart"
    )


def _truncating(X, Y) -> str:
    order, _ = truncation.separating_sequence(X, _classes(truncation.TRUNCATING, Y))
    net = Network(truncation.truncating_widths(len(X), len(order), len(Y)), "relu")
    return (
        f"hyperplanes separate the classes in the order {', '.join(map(str, order))}; builds its "
        f"own ReLU network, K = {net.K}, QN = {Y.size}"
    )


def _class_index(X, Y) -> str:
    line = ramps.check_class_index(X, _classes(ramps.CLASS_INDEX, Y))
    net = Network(ramps.class_index_widths(*X.shape, len(Y)), "relu")
    return (
        f"{len(line.samples)} distinct inputs, projections {line.gap:.0e} apart; builds its own "
        f"ReLU network, K = {net.K}, QN = {Y.size}"
    )


def _classes(theorem: str, Y) -> np.ndarray:
    if not _checks.one_hot(Y):
        raise HypothesisError(
            theorem, "labels of classes", "Y is not one-hot", "but labels of classes are needed", ""
        )
    return Y.argmax(axis=0)


def _duplicates(X, Y) -> Guarantee:
    """Equal inputs get equal outputs; at best, the mean of their labels."""
    first = ramps.equal_inputs(X)
    sums, sizes = np.zeros_like(Y), np.bincount(first, minlength=len(first))
    np.add.at(sums.T, first, Y.T)
    different = (Y != Y[:, first]).any(axis=0)
    name = "Equal inputs, different labels (the book)"
    if not different.any():
        return Guarantee(name, False, "equal inputs, if any, have equal labels")
    bound = np.sum((Y - (sums[:, first] / sizes[first])) ** 2) / (2 * Y.shape[1])
    j = int(different.argmax())
    because = f"samples {first[j]} and {j}, for example: C ≥ {_number(bound)} for every θ"
    return Guarantee(name, True, because, bound=float(bound))


def _narrow(net, Y) -> Guarantee:
    """The outputs lie in an affine space of dimension M_L (Eckart-Young)."""
    rank, width = backwards.label_rank(Y), net.widths[-2]
    name = "Narrow last hidden layer (the book)" if net.L else "Few inputs (the book)"
    here = f"M_{net.L} = {width}"
    if width >= rank:
        return Guarantee(name, False, f"{here} ≥ rank (Y - ȳ1ᵀ) = {rank}")
    bound = np.sum(rank.singular_values[width:] ** 2) / (2 * Y.shape[1])
    because = f"{here} < rank (Y - ȳ1ᵀ) = {rank}: C ≥ {_number(bound)} for every θ"
    return Guarantee(name, True, because, bound=float(bound))


def _counting(net, Y) -> Guarantee:
    """A locally Lipschitz image of a space of lower dimension is a null set.

    Where σ(tz) = tσ(z) for t > 0, each hidden neuron can be rescaled, which changes no output and
    leaves that many parameters fewer to count.
    """
    name = "Too few parameters (the book, after [CE] 1.6)"
    count, said = net.K, f"K = {net.K}"
    if _rescales(net.activation):
        count -= sum(net.widths[1:-1])
        said += f", less one a hidden neuron = {count}" if net.L else ""
    if count >= Y.size:
        return Guarantee(name, False, f"{said} ≥ QN = {Y.size}")
    return Guarantee(name, True, f"{said} < QN = {Y.size}: for almost every Y no θ attains C = 0")


def _rescales(activation) -> bool:
    """Whether σ is known to be positively homogeneous."""
    try:
        return family(activation)[0] in ("identity", "relu", "leaky_relu")
    except ValueError:
        return False


def _yes(row: Guarantee) -> str:
    return "yes" if row.holds else "no"


def _number(bound: float) -> str:
    return f"{bound:.3g}"
