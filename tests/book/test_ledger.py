"""The ledger: every statement is proved, checked, and broken hypothesis by hypothesis."""

import ast
import importlib.util
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("zero_loss", ROOT / "book/_ext/zero_loss.py")
zero_loss = importlib.util.module_from_spec(spec)
spec.loader.exec_module(zero_loss)

LEDGER = zero_loss.statements()
TEXTS = {p: p.read_text() for p in sorted((ROOT / "book").rglob("*.md"))}
DIRECTIVE = re.compile(
    r"^:::\{prf:(theorem|lemma|proposition|corollary|definition|example|remark)\}"
    r" *(.*)\n:label: (\S+)",
    flags=re.M,
)
PROVED = ("theorem", "lemma", "proposition", "corollary")


def evidence():
    """(statement, kind, hypothesis, cell) for every evidence cell of the book."""
    for path, text in TEXTS.items():
        if "{code-cell}" in text:
            for cell in jupytext.read(path).cells:
                if cell.cell_type == "code" and {"evidence", "statement"} & set(cell.metadata):
                    match = zero_loss.EVIDENCE.fullmatch(cell.metadata["evidence"])
                    for label in cell.metadata["statement"].split(", "):
                        yield label, *match.group("kind", "hypothesis"), cell


EVIDENCE = list(evidence())


def can_fail(source: str) -> bool:
    """Whether a cell holds an assertion about something that was computed.

    An assertion counts when what it asserts is an expression with a name in it, and it is not
    hidden from execution: at the top level, or in a loop, a `with`, a condition or a `try`.
    Raising an AssertionError counts when it is the `else` of a `try`.
    """

    def in_reach(body):
        for node in body:
            yield node
            for part in ("body", "orelse", "finalbody", "handlers"):
                if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
                    yield from in_reach(getattr(node, part, []))

    for node in in_reach(ast.parse(source).body):
        if isinstance(node, ast.Assert):
            names = [n for n in ast.walk(node.test) if isinstance(n, ast.Name)]
            if names and not isinstance(node.test, ast.Tuple):
                return True
        if isinstance(node, ast.Try) and any(isinstance(n, ast.Raise) for n in node.orelse):
            return True
    return False


def test_the_ledger_lists_exactly_the_statements_of_the_book():
    in_text = {
        label: (kind, title.strip())
        for text in TEXTS.values()
        for kind, title, label in DIRECTIVE.findall(text)
    }
    assert {s["id"]: (s["kind"], s["title"]) for s in LEDGER} == in_text


def test_hypotheses_are_plain_text():
    """They stand in markers and in the ledger, where nothing sets formulas."""
    assert not [h for s in LEDGER for h in s["hypotheses"] if re.search(r"[\\$_^{}]", h)]


def test_every_statement_in_the_text_has_a_label():
    for path, text in TEXTS.items():
        directives = re.findall(r"\{prf:(\w+)\}(?!`)", text)
        labelled = [kind for kind, _, _ in DIRECTIVE.findall(text)]
        assert [d for d in directives if d != "proof"] == labelled, path


def test_what_a_proof_refers_to_is_what_it_rests_on():
    uses = {s["id"]: {s["id"], *s["uses"]} for s in LEDGER}
    block = re.compile(r"^:::\{prf:proof\}\n:class: proves-(\S+)\n(.*?)^:::$", re.M | re.S)
    proofs = [found for text in TEXTS.values() for found in block.findall(text)]
    assert len(proofs) == sum(s["kind"] in PROVED for s in LEDGER)
    for label, proof in proofs:
        named = set(re.findall(r"\{prf:ref\}`(?:[^`<]*<)?([^`>]+)>?`", proof))
        assert named <= uses[label], f"{label} also uses {sorted(named - uses[label])}"


def test_no_proof_rests_on_itself():
    known = {s["id"] for s in LEDGER}
    below = {s["id"]: s["uses"] for s in LEDGER}
    assert all(set(uses) <= known for uses in below.values())

    def rests_on(label, path=()):
        assert label not in path, f"a circle of proofs: {' → '.join((*path, label))}"
        for used in below[label]:
            rests_on(used, (*path, label))

    for label in below:
        rests_on(label)


@pytest.mark.parametrize("statement", LEDGER, ids=lambda s: s["id"])
def test_every_statement_is_proved_checked_and_broken(statement):
    label = statement["id"]
    assert set(statement) == {"id", "source", "kind", "title", "hypotheses", "uses"}
    found = [e for e in EVIDENCE if e[0] == label]
    if statement["kind"] in PROVED:
        proofs = sum(len(re.findall(rf":class: proves-{label}$", t, re.M)) for t in TEXTS.values())
        assert proofs == 1, "no proof"
        kinds = {kind for _, kind, _, _ in found}
        assert "symbolic" in kinds, "no symbolic derivation"
        assert kinds & {"numeric", "exact", "certified"}, "no check"
    broken = {hypothesis for _, kind, hypothesis, _ in found if kind == "counterexample"}
    assert broken == set(statement["hypotheses"])


@pytest.mark.parametrize("label, kind, hypothesis, cell", EVIDENCE)
def test_evidence_belongs_to_a_statement_and_can_fail(label, kind, hypothesis, cell):
    assert label in {s["id"] for s in LEDGER}
    assert (kind == "counterexample") == (hypothesis is not None)
    assert can_fail(cell.source), "nothing in this cell can fail"


@pytest.mark.parametrize(
    "source, verdict",
    [
        ("assert x == 1", True),
        ("for x in y:\n    assert f(x) <= 1e-24", True),
        ("try:\n    f()\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError", True),
        ("print(x)", False),
        ("assert True", False),
        ("assert (x == 1, 'always true')", False),
        ("def check():\n    assert x == 1", False),
        ("# assert x == 1", False),
    ],
)
def test_can_fail_tells_assertions_from_decoration(source, verdict):
    assert can_fail(source) is verdict
