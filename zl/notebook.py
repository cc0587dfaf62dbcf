"""What a failing cell says on top of its error: what is false there, with the numbers.

For notebooks only; `import zl` alone does not need it.
"""

import ast
import linecache
import sys
from fractions import Fraction

import numpy as np

__all__ = ["explain_failures"]

ASSERTED = (
    "The cell asserts this for the book's own numbers. If you changed one, either a number in the "
    "assertion changes with it, or a hypothesis of the statement no longer holds."
)
UNDEFINED = "If a cell above defines it, run that cell first; the first cell holds the imports."
SIZES = "If you changed a number, the sizes that depend on it have to change along."


def explain_failures() -> None:
    """Let a cell that fails say what is false there, or which sizes met, below the usual error.

    Call it once, in a notebook's first cell. From then on a failed `assert` names the part that is
    false and the values of its sides, for which the assertion is evaluated once more. A name that
    is not defined comes with the advice to run the cells above, and an error that a library raises
    with the sizes of what the cell's line has handed to it. Errors of `zl` explain themselves. The
    cell still fails. Outside of IPython this does nothing.

    Example:
        >>> from zl import notebook
        >>> notebook.explain_failures()
    """
    # Who is in IPython has imported it; all others do not need to.
    shell = "IPython" in sys.modules and sys.modules["IPython"].get_ipython()
    if shell:
        shell.set_custom_exc((Exception,), _show)


def _show(shell, kind, error, traceback, tb_offset=None):
    """Show the error as IPython does, with a note below."""
    try:
        note = _note(error, traceback, shell.user_ns)
    except Exception:  # values that cannot be had a second time: the error itself is still right
        note = ""
    if note:
        error.add_note(note)
    shell.showtraceback((kind, error, traceback), tb_offset=tb_offset)


def _note(error: Exception, traceback, namespace: dict) -> str:
    """What a reader of the notebook with these names may want to know about this error."""
    modules, cell = [], None
    while traceback:
        modules.append(traceback.tb_frame.f_globals.get("__name__", ""))
        if traceback.tb_frame.f_globals is namespace:
            cell, deepest = traceback, len(modules)
        traceback = traceback.tb_next
    if cell is None or any(name.split(".")[0] == "zl" for name in modules):
        return ""
    if isinstance(error, NameError):
        return UNDEFINED
    statement = _statement(cell.tb_frame.f_code.co_filename, cell.tb_lineno)
    scope = {**namespace, **cell.tb_frame.f_locals}
    if isinstance(error, AssertionError):
        if deepest < len(modules) or not isinstance(statement, ast.Assert):
            return ""  # asserted in a library, or raised by hand
        part, scope = _false_part(statement.test, scope)
        sides = "; ".join(_sides(part, scope)) or "it has no variable"
        return f"`{ast.unparse(part)}` is false here: {sides}. {ASSERTED}"
    names = dict.fromkeys(n.id for n in ast.walk(statement) if isinstance(n, ast.Name))
    sizes = [_size(name, scope[name]) for name in names if name in scope]
    return f"In this line {', '.join(filter(None, sizes))}. {SIZES}" if any(sizes) else ""


def _statement(file: str, line: int) -> ast.stmt:
    """The smallest statement around a line of a cell, whose source IPython keeps in linecache."""
    nodes = ast.walk(ast.parse("".join(linecache.getlines(file))))
    around = [n for n in nodes if isinstance(n, ast.stmt) and n.lineno <= line <= n.end_lineno]
    return min(around, key=lambda n: n.end_lineno - n.lineno)


def _size(name: str, value) -> str:
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return f"{name} has shape {shape}"
    if isinstance(value, list | tuple):
        return f"{name} has {len(value)} entries"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{name} = {_shown(value)}" if number else ""


def _value(node: ast.expr, scope: dict):
    return eval(compile(ast.fix_missing_locations(ast.Expression(node)), "", "eval"), scope)


def _false_part(node: ast.expr, scope: dict) -> tuple[ast.expr, dict]:
    """The smallest part that makes the condition false, and the names it uses."""
    match node:
        case ast.BoolOp(op=ast.And()):
            part = next(operand for operand in node.values if not _value(operand, scope))
            return _false_part(part, scope)
        case ast.Call(func=ast.Name("all"), args=[ast.GeneratorExp(elt, [*before, last])]):
            # The first turn of the loop in which it is false, as {name: value}.
            targets = [n for loop in node.args[0].generators for n in ast.walk(loop.target)]
            names = [n.id for n in targets if isinstance(n, ast.Name)]
            turn = ast.Dict(
                [ast.Constant(n) for n in names], [ast.Name(n, ast.Load()) for n in names]
            )
            false = ast.UnaryOp(ast.Not(), elt)
            last = ast.comprehension(last.target, last.iter, [*last.ifs, false], last.is_async)
            found = _value(ast.GeneratorExp(turn, [*before, last]), scope)
            return _false_part(elt, {**scope, **next(found)})
    return node, scope


def _sides(node: ast.expr, scope: dict) -> list[str]:
    """The sides of a comparison, or whatever else decides, with their values."""
    match node:
        case ast.Compare():
            parts = [node.left, *node.comparators]
        case ast.BoolOp():
            return [side for operand in node.values for side in _sides(operand, scope)]
        case ast.UnaryOp(op=ast.Not()):
            return _sides(node.operand, scope)
        case ast.Call(func=ast.Attribute(value=inner, attr="all" | "any"), args=[]):
            return _sides(inner, scope)
        case ast.Call(args=[_, *_]):
            parts = node.args
        case ast.Attribute():
            parts = [node.value]
        case _:
            parts = [node]
    values = [(part, _value(part, scope)) for part in parts if not _is_literal(part)]
    shown = [f"{ast.unparse(part)} = {_shown(value)}" for part, value in values]
    arrays = [
        np.asarray(value) for _, value in values if np.ndim(value) and hasattr(value, "dtype")
    ]
    if len(arrays) == 2 and arrays[0].shape == arrays[1].shape:
        shown.append(f"they differ by up to {_shown(np.abs(np.subtract(*arrays)).max())}")
    return shown


def _is_literal(node: ast.expr) -> bool:
    return not any(isinstance(n, ast.Name) for n in ast.walk(node))


def _shown(value) -> str:
    """A value in a few characters."""
    if hasattr(value, "dtype"):
        value = np.asarray(value)
        if value.size > 8:
            ends = f"from {_shown(value.min())} to {_shown(value.max())}"
            return f"an array of shape {value.shape}, {ends}"
        value = value.tolist()
    if isinstance(value, list | tuple) and len(value) <= 8:
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, float | complex):
        return f"{value:.4g}"
    if isinstance(value, Fraction) and len(str(value)) > 20:
        return f"{float(value):.4g}"
    text = " ".join(repr(value).split() if isinstance(value, str) else str(value).split())
    return text if len(text) <= 80 else f"{text[:60]} … ({type(value).__name__})"
