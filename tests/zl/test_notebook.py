"""A failing cell says what is false and by how much, and still fails."""

import linecache
import subprocess
import sys

import nbclient
import nbformat
import pytest

from zl import notebook

SETUP = """
from fractions import Fraction
import jax.numpy as jnp, numpy as np, sympy as sp, zl
x, C, a, ok = sp.Symbol("x"), 0.03125, np.arange(3.0), False
A, B, costs = np.zeros((4, 5)), np.eye(4, 5), {"tanh": 1e-30, "sin": 0.5}
def check(bound):
    scale = 2
    assert scale * C <= bound
"""
SENTENCES = {
    "assert C <= 1e-24": "`C <= 1e-24` is false here: C = 0.03125. The cell asserts this",
    "assert 0 < C and 2 * C < 1e-24 < 1": "`2 * C < 1e-24 < 1` is false here: 2 * C = 0.0625.",
    "assert all(c < 0.1 for c in costs.values())": "`c < 0.1` is false here: c = 0.5.",
    "assert all(k < a[j] for j in (1, 2) for k in (0, 1))": "here: k = 1; a[j] = 1.",
    "check(\n    bound=1e-3)": "`scale * C <= bound` is false here: scale * C = 0.0625; bound =",
    "assert (A > B - 1).all()": "here: A = an array of shape (4, 5), from 0 to 0; B - 1 = an array",
    "assert np.allclose(A, B, rtol=0)": "from 0 to 1; they differ by up to 1.",
    "assert jnp.abs(B).max() < 1": "here: jnp.abs(B).max() = 1.",
    "assert sp.expand((x + 1)**2) == 0": "sp.expand((x + 1) ** 2) = x**2 + 2*x + 1.",
    "assert Fraction(1, 3) ** 9 == 0, 'exact'": "here: Fraction(1, 3) ** 9 = 1/19683. The",
    "assert Fraction(1, 3) ** 99 == 0": "here: Fraction(1, 3) ** 99 = 5.821e-48.",
    "assert ok or not sp.S(2).is_even": "here: ok = False; sp.S(2) = 2.",
    "assert sp.eye(2).is_zero_matrix": "here: sp.eye(2) = Matrix([[1, 0], [0, 1]]).",
    "assert a.tolist() == list(range(9))": "a.tolist() = [0, 1, 2]; list(range(9)) = [0, 1, 2",
    "assert str(x) * 90 == ''": "… (str).",
    "assert 1 == 2": "`1 == 2` is false here: it has no variable.",
    "1 / unheard_of": "If a cell above defines it, run that cell first",
    "n = 3\nnp.vstack([A, np.ones(n)])": "In this line A has shape (4, 5), n = 3. If you changed",
    "ends = [1, 2]\nends[2]": "In this line ends has 2 entries. If you changed a number",
    "jnp.hstack([A, jnp.ones((3, 1))])": "In this line A has shape (4, 5). If you changed a number",
}


def note(cell):
    """What a notebook shows below the error of this cell, after SETUP."""
    namespace = {}
    for name, source in (("setup", SETUP), ("cell", cell)):
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            exec(compile(source, name, "exec"), namespace)
        except Exception as error:
            shell = Shell(namespace)
            notebook._show(shell, type(error), error, error.__traceback__)
            assert shell.shown is error
            return "".join(getattr(error, "__notes__", []))


class Shell:
    """As much of IPython as is asked."""

    def __init__(self, user_ns):
        self.user_ns = user_ns

    def showtraceback(self, exc_tuple, tb_offset):
        self.shown = exc_tuple[1]


@pytest.mark.parametrize("cell", SENTENCES)
def test_a_note_says_what_is_false_or_which_sizes_met(cell):
    assert SENTENCES[cell] in note(cell)


@pytest.mark.parametrize(
    "cell",
    [
        "np.testing.assert_array_equal(A, B)",  # asserted in a library
        "values = iter([1])\nassert all(v < 0 for v in values)",  # nothing is left of them
        "raise AssertionError('dependent inputs were accepted')",  # no condition
        "zl.Network((3, 0))",  # explains itself
        "costs['relu']",  # no sizes
    ],
)
def test_what_cannot_be_explained_or_need_not_stays_as_it_is(cell):
    assert note(cell) == ""


def test_a_notebook_shows_the_note_and_still_fails():
    setup = "from zl import notebook\nnotebook.explain_failures()\nC = 0.03125"
    cells = [nbformat.v4.new_code_cell(source) for source in (setup, "assert C == 0", "C + 'a'")]
    failing = nbformat.v4.new_notebook(cells=cells)
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="is false here: C = 0"):
        nbclient.execute(failing, kernel_name="python3", timeout=300)
    [error] = [output for output in failing.cells[1].outputs if output.output_type == "error"]
    assert error.ename == "AssertionError"
    shown = "".join(error.traceback)
    assert 0 < shown.index("Traceback") < shown.index("`C == 0` is false here: C = 0.03125. ")


def test_outside_of_ipython_nothing_happens_and_ipython_is_not_imported():
    script = (
        "import sys; from zl import notebook; notebook.explain_failures(); "
        "print(sys.modules.keys() & {'IPython', 'matplotlib'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
