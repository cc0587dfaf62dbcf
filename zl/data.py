"""Training data: generic, ill-conditioned, in classes, and two real sets. Samples are columns."""

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from zl import _checks, _random

__all__ = [
    "clustered",
    "coffee_spectra",
    "digits",
    "generic",
    "ill_conditioned",
    "sequentially_separable",
]

Data = tuple[Float[Array, "M0 N"], Float[Array, "Q N"]]


def generic(key: PRNGKeyArray, M0: int, N: int, Q: int) -> Data:
    """Inputs and labels with independent standard normal entries.

    Every statement that holds for generic data holds for these with probability one.

    Args:
        key: a key made by `jax.random.key`.
        M0: input dimension.
        N: number of samples.
        Q: number of outputs.

    Returns:
        X (M0, N) and Y (Q, N).

    Raises:
        ValueError: if a size is not a positive integer, or key is a number.

    Example:
        >>> import jax
        >>> X, Y = zl.data.generic(jax.random.key(0), M0=10, N=5, Q=2)
        >>> X.shape, Y.shape
        ((10, 5), (2, 5))
    """
    _checks.positive_integers(M0=M0, N=N, Q=Q)
    return _random.normal(key, (M0, N), (Q, N))


def ill_conditioned(key: PRNGKeyArray, M0: int, N: int, Q: int, cond: float) -> Data:
    """Inputs with a prescribed condition number, and standard normal labels.

    The singular values of X fall geometrically from 1 to 1/cond; its singular vectors are
    uniformly distributed (Haar).

    Args:
        key: a key made by `jax.random.key`.
        M0: input dimension.
        N: number of samples.
        Q: number of outputs.
        cond: ratio of the largest to the smallest singular value of X, at least 1.

    Returns:
        X (M0, N) and Y (Q, N).

    Raises:
        ValueError: if cond < 1, or a single singular value cannot have that ratio, or a size is
            not a positive integer, or single precision is on.

    Example:
        >>> import jax, numpy as np
        >>> X, Y = zl.data.ill_conditioned(jax.random.key(0), M0=10, N=5, Q=2, cond=1e6)
        >>> round(float(np.log10(np.linalg.cond(X))), 6)
        6.0
    """
    _checks.positive_integers(M0=M0, N=N, Q=Q)
    _checks.double("cond", cond)
    if not cond >= 1:
        raise ValueError(f"cond must be a number of at least 1; it is {cond}.")
    r = min(M0, N)
    if r == 1 and cond != 1:
        raise ValueError(f"cond must be 1 where M0 or N is 1; it is {cond}.")
    rng = _random.generator(key)
    U, V = _random.orthonormal(rng, r, M0), _random.orthonormal(rng, r, N)
    X = (U.T * np.logspace(0.0, -np.log10(cond), r)) @ V
    return _checks.array(X), _checks.array(rng.normal(size=(Q, N)))


def clustered(
    key: PRNGKeyArray, M0: int, N: int, Q: int, radius: float = 1.0, separation: float = 4.0
) -> Data:
    """Q classes, each uniformly distributed in a ball.

    The centres of the balls lie on a sphere. For Q ≤ M0 + 1 they are the corners of a regular
    simplex with edges of length `separation`; then a hyperplane separates each class from all the
    others if radius < separation/√8. For more classes they are random points on the sphere (the
    best of 100 draws), or equally spaced on the line if M0 = 1, with `separation` as the smallest
    distance.

    Args:
        key: a key made by `jax.random.key`.
        M0: input dimension.
        N: number of samples, at least Q.
        Q: number of classes; their sizes differ by at most one.
        radius: radius of the balls.
        separation: the smallest distance of two centres.

    Returns:
        X (M0, N), in random order of the classes; Y (Q, N), one-hot.

    Raises:
        ValueError: if N < Q, or radius or separation is not a positive number, or single
            precision is on.

    Example:
        >>> import jax
        >>> X, Y = zl.data.clustered(jax.random.key(0), M0=2, N=300, Q=3, radius=0.5)
        >>> X.shape, Y.sum(axis=1).tolist()
        ((2, 300), [100.0, 100.0, 100.0])
    """
    _class_sizes(M0=M0, N=N, Q=Q)
    _positive(radius=radius, separation=separation)
    rng = _random.generator(key)
    labels = rng.permutation(np.arange(N) % Q)
    directions = rng.normal(size=(M0, N))
    inside = rng.uniform(size=N) ** (1 / M0) / np.linalg.norm(directions, axis=0)
    X = separation * _centres(rng, M0, Q)[:, labels] + radius * inside * directions
    return _checks.double("X", X), _checks.array(np.eye(Q)[:, labels])


def _centres(rng: np.random.Generator, M0: int, Q: int) -> np.ndarray:
    """Q points whose smallest distance is 1."""
    if Q <= M0 + 1:
        simplex = np.eye(Q) - 1 / Q
        plane = np.linalg.svd(simplex)[0][:, : Q - 1]  # its corners in Q - 1 coordinates
        return _random.orthonormal(rng, Q - 1, M0).T @ plane.T @ simplex / np.sqrt(2)
    if M0 == 1:
        return np.arange(1.0 * Q)[None]
    points = rng.normal(size=(100, M0, Q))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    nearest = np.array([_distances(p)[np.triu_indices(Q, 1)].min() for p in points])
    return points[nearest.argmax()] / nearest.max()


def _distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, :, None] - points[:, None, :], axis=0)


def sequentially_separable(key: PRNGKeyArray, M0: int, N: int, Q: int, margin: float = 0.5) -> Data:
    """Q classes peeled off a cloud of normal samples, two at a time from opposite sides.

    Along a random direction, the samples furthest to the left become class 1 and those furthest
    to the right class 2, and both are moved outwards; the rest is treated likewise along another
    direction. So a hyperplane separates each class from all later ones. But from Q = 3 on the last
    class is separated by no hyperplane from all the others together: one of its samples is the
    midpoint of a sample of class 1 and one of class 2.

    Args:
        key: a key made by `jax.random.key`.
        M0: input dimension.
        N: number of samples, at least Q.
        Q: number of classes; their sizes differ by at most one.
        margin: the least distance of a class from all later ones, along its direction.

    Returns:
        X (M0, N), in random order of the classes; Y (Q, N), one-hot.

    Raises:
        ValueError: if N < Q, or the margin is not a positive number, or single precision is on.

    Example:
        >>> import jax
        >>> X, Y = zl.data.sequentially_separable(jax.random.key(0), M0=2, N=300, Q=4)
        >>> X.shape, Y.sum(axis=1).tolist()
        ((2, 300), [75.0, 75.0, 75.0, 75.0])
    """
    _class_sizes(M0=M0, N=N, Q=Q)
    _positive(margin=margin)
    rng = _random.generator(key)
    X, labels, rest = rng.normal(size=(M0, N)), np.empty(N, int), np.arange(N)
    sizes, sides = np.bincount(np.arange(N) % Q), []
    axes = [_random.orthonormal(rng, 1, M0)[0] for _ in range(Q // 2)]
    for q in range(Q - 1):
        direction = (-1) ** q * axes[q // 2]
        rest = rest[np.argsort(direction @ X[:, rest])]
        cut, rest = rest[: sizes[q]], rest[sizes[q] :]
        X[:, cut] -= (Q - 1 - q) * margin * direction[:, None]  # further than later classes
        labels[cut] = q
        sides.append((cut[0], direction))
    labels[rest] = Q - 1
    if Q >= 3:
        # A long way out on both sides, so that they stay in classes 1 and 2.
        (left, direction), (right, _), *_ = sides
        reach = np.abs(direction @ X).max() + abs(direction @ X[:, rest[0]])
        X[:, left] = X[:, rest[0]] - reach * direction
        X[:, right] = X[:, rest[0]] + reach * direction
    order = rng.permutation(N)
    return _checks.double("X", X[:, order]), _checks.array(np.eye(Q)[:, labels[order]])


def digits(N: int | None = None) -> Data:
    """The first N of 1797 handwritten digits, 8 × 8 pixels each (scikit-learn's `load_digits`).

    Some pixels never change, so few images are affinely independent: 52 of the first 64.

    Args:
        N: how many images, in the order of the set; all 1797 by default.

    Returns:
        X (64, N), grey values divided by 16, so in [0, 1]; Y (10, N), one-hot, row q for digit q.

    Raises:
        ValueError: if N is not between 1 and 1797.

    Example:
        >>> X, Y = zl.data.digits(64)
        >>> X.shape, Y.shape
        ((64, 64), (10, 64))
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    N = len(labels) if N is None else N
    _checks.positive_integers(N=N)
    if N > len(labels):
        raise ValueError(f"N must lie between 1 and {len(labels)}; it is {N}.")
    return _checks.array(images[:N].T / 16), _checks.array(np.eye(10)[labels[:N]].T)


def coffee_spectra() -> Data:
    """Infrared spectra of 60 coffees from three countries (chemotools' `load_coffee`).

    Attenuated total reflectance Fourier transform infrared spectra, 1841 channels each: far more
    measurements than samples, as usual in spectroscopy.

    Returns:
        X (1841, 60), absorbances, one spectrum a column; Y (3, 60), one-hot with rows
        Brazil, Ethiopia, Vietnam.

    Example:
        >>> X, Y = zl.data.coffee_spectra()
        >>> X.shape, Y.sum(axis=1).tolist()
        ((1841, 60), [20.0, 20.0, 20.0])
    """
    from chemotools.datasets import load_coffee

    spectra, labels = load_coffee()
    countries, classes = np.unique(labels.to_numpy().ravel(), return_inverse=True)
    return _checks.array(spectra.to_numpy().T), _checks.array(np.eye(len(countries))[classes].T)


def _class_sizes(*, M0: int, N: int, Q: int) -> None:
    _checks.positive_integers(M0=M0, N=N, Q=Q)
    if N < Q:
        raise ValueError(f"N must be at least Q = {Q}, so that each class has a sample; it is {N}.")


def _positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not 0 < number < np.inf:
            raise ValueError(f"{name} must be a positive number; it is {number}.")
