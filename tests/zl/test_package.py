"""Importing zl changes nothing, its names are documented, and every example runs."""

import doctest
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys

import jax
import pytest

import zl

MODULES = [zl] + [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(zl.__path__, "zl.")
    if not module.name.split(".")[-1].startswith("_")
]
EXAMPLES = {
    test.name: test
    for module in MODULES
    for test in doctest.DocTestFinder(exclude_empty=True).find(
        module, globs={"zl": zl, "jax": jax, "jnp": jax.numpy}
    )
    if test.examples
}


def public():
    """Every public class, function and method, by its full name."""
    for module in MODULES:
        for name in getattr(module, "__all__", ()):
            thing = getattr(module, name)
            if inspect.isclass(thing):
                for method in filter(inspect.isfunction, vars(thing).values()):
                    if not method.__name__.startswith("_"):
                        yield f"{thing.__module__}.{method.__qualname__}", method
            if inspect.isclass(thing) or inspect.isroutine(inspect.unwrap(thing)):
                yield f"{thing.__module__}.{thing.__qualname__}", thing


PUBLIC = {name: thing for name, thing in public() if name.startswith("zl")}
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if not inspect.isclass(thing)}


def test_importing_zl_changes_no_global_state_and_loads_no_optional_library():
    script = """if True:
        import sys, warnings, jax, numpy, scipy.sparse  # SciPy sets a filter of its own
        before = dict(jax.config.values), list(warnings.filters), numpy.get_printoptions()
        import zl
        after = dict(jax.config.values), list(warnings.filters), numpy.get_printoptions()
        print(before == after, jax.config.jax_enable_x64, jax.numpy.ones(1).dtype)
        optional = {"matplotlib", "sklearn", "chemotools", "pandas", "sympy", "diffrax"}
        print(optional & set(sys.modules))
        try:
            zl.numerical_rank([[1.0]])
        except ValueError as error:
            print(error)
        zl.enable_x64()
        print(zl.numerical_rank([[1.0]]), jax.numpy.ones(1).dtype)
    """
    environment = {k: v for k, v in os.environ.items() if k != "JAX_ENABLE_X64"}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "True False float32",
        "set()",
        "A would be rounded to single precision: call zl.enable_x64() first, and pass float64 "
        "arrays.",
        "1 float64",
    ]


def test_what_the_package_offers_exists():
    for module in MODULES:
        assert all(hasattr(module, name) for name in getattr(module, "__all__", ()))
    assert {"zl.network.cost", "zl.network.Network.apply", "zl.data.generic"} <= set(PUBLIC)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_gives_what_it_shows(name):
    report = []
    result = doctest.DocTestRunner().run(EXAMPLES[name], out=report.append, clear_globs=False)
    assert result.failed == 0, "".join(report)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_summary_line_and_an_example(name):
    summary = inspect.getdoc(PUBLIC[name]).splitlines()[0]
    assert summary.endswith(".")
    assert name in EXAMPLES


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_argument_result_and_error_is_documented(name):
    function, doc = FUNCTIONS[name], inspect.getdoc(FUNCTIONS[name])
    signature = inspect.signature(function)
    for parameter in signature.parameters:
        assert parameter == "self" or re.search(rf"(?s)Args:.*\n {{4,}}{parameter}: ", doc)
    assert "Returns:" in doc or signature.return_annotation is None
    if re.search(r"\braise\b|\b_checks?\b(?!\.array)", inspect.getsource(function)):
        assert re.search(r"Raises:\n +(ValueError|HypothesisError): ", doc)
