"""The error a theorem raises when it does not apply."""


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
