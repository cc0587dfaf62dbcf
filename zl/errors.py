"""The errors of the theory: no theorem applies, no proof succeeds, a flow loses its rank."""


class HypothesisError(ValueError):
    """A theorem was asked for something that its hypotheses do not cover.

    Args:
        theorem: the theorem, with its source.
        hypothesis: the hypothesis that fails, in words.
        found: what was found, with the number.
        needed: what the hypothesis asks for, with the number.
        advice: what to try instead.

    All five are attributes, and the message is the sentence they make.

    Example:
        >>> raise zl.HypothesisError("Theorem A", "two points", "found 1", "needs 2", "Add one.")
        Traceback (most recent call last):
            ...
        zl.errors.HypothesisError: Theorem A needs two points: found 1, needs 2. Add one.
    """

    def __init__(self, theorem: str, hypothesis: str, found: str, needed: str, advice: str):
        self.theorem, self.hypothesis, self.found = theorem, hypothesis, found
        self.needed, self.advice = needed, advice
        super().__init__(theorem, hypothesis, found, needed, advice)  # so that it can be pickled

    def __str__(self) -> str:
        return f"{self.theorem} needs {self.hypothesis}: {self.found}, {self.needed}. {self.advice}"


class CertificateError(ArithmeticError):
    """A proof by ball arithmetic did not succeed. It says nothing about whether the claim is true.

    Args:
        claim: what was to be proved.
        reason: why the proof failed, with the numbers that decided.
        advice: what to try instead.

    All three are attributes, and the message is the sentences they make.

    Example:
        >>> raise zl.CertificateError("x > 0", "At 128 bits x is 0 ± 1e-38.", "Try: a larger x.")
        Traceback (most recent call last):
            ...
        zl.errors.CertificateError: Not proved: x > 0. At 128 bits x is 0 ± 1e-38. Try: a larger x.
    """

    def __init__(self, claim: str, reason: str, advice: str):
        self.claim, self.reason, self.advice = claim, reason, advice
        super().__init__(claim, reason, advice)  # so that it can be pickled

    def __str__(self) -> str:
        return f"Not proved: {self.claim}. {self.reason} {self.advice}"


class RankLossError(ArithmeticError):
    """The training Jacobian D lost rank along a flow that needs its rank.

    Args:
        time: when.
        ratio: σ_r/σ_1 there: the last singular value that the rank counts, over the largest.
        rank_rtol: the ratio below which D counts as rank deficient.
        trajectory: the run up to then; its last state is the one where rank was lost.

    All four are attributes, and the message says the first three.

    Example:
        >>> raise zl.RankLossError(1.5, 2e-7, 1e-6, None)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        zl.errors.RankLossError: D loses rank at time 1.5: σ_r/σ_1 = 2e-07, less than 1e-06. ...
    """

    def __init__(self, time: float, ratio: float, rank_rtol: float, trajectory):
        self.time, self.ratio, self.rank_rtol, self.trajectory = time, ratio, rank_rtol, trajectory
        super().__init__(time, ratio, rank_rtol, trajectory)

    def __str__(self) -> str:
        return (
            f"D loses rank at time {self.time:.6g}: σ_r/σ_1 = {self.ratio:.2g}, less than "
            f"{self.rank_rtol:.2g}. The adapted flow cannot go on; this error's `trajectory` ends "
            "here. Try: another start, a wider network, or gradient_flow, which rank loss only "
            "slows."
        )
