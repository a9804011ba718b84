"""Which changes are made: read from the compiler's syntax tree, written into the source.

Inline assembly, interfaces and type names stay as they are. Nothing here decides whether a change matters:
what
doesn't compile, or compiles to the same code, is dropped later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

from scripts.prove.mutation.mutant import Mutant

Node = dict[str, Any]
Change = tuple[str, int, int, str]

# Operator of a binary operation or assignment -> what it becomes, under which name.
SWAPS: dict[str, tuple[str, str]] = {
    "<": ("compare", "<="),
    "<=": ("compare", "<"),
    ">": ("compare", ">="),
    ">=": ("compare", ">"),
    "==": ("compare", "!="),
    "!=": ("compare", "=="),
    "+": ("arithmetic", "-"),
    "-": ("arithmetic", "+"),
    "*": ("arithmetic", "/"),
    "/": ("arithmetic", "*"),
    "%": ("arithmetic", "*"),
    "&": ("bits", "|"),
    "|": ("bits", "&"),
    "<<": ("bits", ">>"),
    ">>": ("bits", "<<"),
    "&&": ("logic", "||"),
    "||": ("logic", "&&"),
    "+=": ("arithmetic", "-="),
    "-=": ("arithmetic", "+="),
    "|=": ("bits", "&="),
    "&=": ("bits", "|="),
    "++": ("arithmetic", "--"),
    "--": ("arithmetic", "++"),
}
OPERATORS = (
    "compare",
    "arithmetic",
    "bits",
    "logic",
    "negate",
    "constant",
    "drop-check",
    "drop-emit",
    "drop-write",
    "drop-assign",
    "drop-call",
    "drop-return",
    "drop-modifier",
    "swap-arguments",
    "key",
)
SKIPPED = frozenset(
    {"InlineAssembly", "ElementaryTypeName", "ArrayTypeName", "Mapping", "UserDefinedTypeName"}
)


def mutants(file: str, source: bytes, tree: Node) -> list[Mutant]:
    """Every change of the contracts and libraries of one source, in the order of the source."""
    finder = _Finder(source, tree)
    found = []
    for contract in tree["nodes"]:
        if contract["nodeType"] != "ContractDefinition" or contract["contractKind"] == "interface":
            continue
        for member in contract["nodes"]:
            where = f"{contract['name']}.{member.get('name') or member.get('kind', '')}"
            for operator, start, end, text in finder.changes(member):
                line = source.count(b"\n", 0, start) + 1
                original = source[start:end].decode()
                found.append(Mutant(file, where, operator, start, end, line, original, text))
    return _numbered(sorted(found, key=lambda m: (m.start, m.end, m.operator, m.replacement)))


def _numbered(found: list[Mutant]) -> list[Mutant]:
    seen: Counter[str] = Counter()
    numbered = []
    for mutant in found:
        numbered.append(replace(mutant, ordinal=seen[mutant.id]))
        seen[mutant.id] += 1
    return numbered


def span(node: Node) -> tuple[int, int]:
    """First byte, and the one after the last."""
    start, length, _ = (int(part) for part in node["src"].split(":"))
    return start, start + length


def children(node: Node) -> Iterator[Node]:
    """The nodes right below."""
    for value in node.values():
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, dict) and "nodeType" in item:
                yield item


class _Finder:
    """Finds the changes below a node of one source."""

    def __init__(self, source: bytes, tree: Node) -> None:
        self._source = source
        self._declarations: dict[int, Node] = {}
        self._index(tree)

    def _index(self, node: Node) -> None:
        if node["nodeType"] == "VariableDeclaration":
            self._declarations[node["id"]] = node
        for child in children(node):
            self._index(child)

    def changes(self, node: Node) -> Iterator[Change]:
        """Changes of the node and all below it."""
        kind = node["nodeType"]
        if kind in SKIPPED:
            return
        finder = getattr(self, f"_of_{kind}", None)
        if finder is not None:
            yield from finder(node)
        header = (node.get("initializationExpression"), node.get("loopExpression"))
        for child in children(node):
            # The steps of a loop can't be dropped: the loop would never end.
            is_step = kind == "ForStatement" and child in header
            yield from (c for c in self.changes(child) if not (is_step and c[0].startswith("drop-")))

    def _of_BinaryOperation(self, node: Node) -> Iterator[Change]:
        yield from self._swap(node, node["leftExpression"], node["rightExpression"])

    def _of_Assignment(self, node: Node) -> Iterator[Change]:
        yield from self._swap(node, node["leftHandSide"], node["rightHandSide"])

    def _swap(self, node: Node, left: Node, right: Node) -> Iterator[Change]:
        sign = node["operator"]
        if sign not in SWAPS:
            return
        name, other = SWAPS[sign]
        at = self._source.index(sign.encode(), span(left)[1], span(right)[0])
        yield name, at, at + len(sign), other

    def _of_UnaryOperation(self, node: Node) -> Iterator[Change]:
        start, end = span(node)
        sign = node["operator"]
        if sign == "!":
            yield "negate", start, start + 1, ""
        elif sign in SWAPS:
            name, other = SWAPS[sign]
            at = start if node["prefix"] else end - len(sign)
            yield name, at, at + len(sign), other

    def _of_IfStatement(self, node: Node) -> Iterator[Change]:
        yield from self._negated(node["condition"])
        body = node["trueBody"]
        if _only_reverts(body) and not node.get("falseBody"):
            yield "drop-check", *(span(node) if body["nodeType"] == "Block" else self._statement(node)), "{}"

    def _of_Conditional(self, node: Node) -> Iterator[Change]:
        yield from self._negated(node["condition"])

    def _negated(self, condition: Node) -> Iterator[Change]:
        # Of these, another operator makes the same change.
        if condition.get("operator") in ("==", "!=", "!"):
            return
        start, end = span(condition)
        yield "negate", start, end, f"!({self._source[start:end].decode()})"

    def _of_EmitStatement(self, node: Node) -> Iterator[Change]:
        yield "drop-emit", *self._statement(node), "{}"

    def _of_ExpressionStatement(self, node: Node) -> Iterator[Change]:
        expression = node["expression"]
        kind = expression["nodeType"]
        if kind == "FunctionCall":
            check = expression["expression"].get("name") in ("require", "assert")
            yield "drop-check" if check else "drop-call", *self._statement(node), "{}"
        elif kind == "Assignment":
            name = "drop-write" if self._is_stored(expression["leftHandSide"]) else "drop-assign"
            yield name, *self._statement(node), "{}"
        elif kind == "UnaryOperation" and self._is_stored(expression["subExpression"]):
            yield "drop-write", *self._statement(node), "{}"

    def _statement(self, node: Node) -> tuple[int, int]:
        """The statement with its semicolon, which the compiler's spans leave out."""
        start, end = span(node)
        return start, self._source.index(b";", end - 1) + 1

    def _is_stored(self, target: Node) -> bool:
        """Whether an assignment to `target` writes storage."""
        if target["nodeType"] == "TupleExpression":
            return any(self._is_stored(part) for part in target["components"] if part)
        while target["nodeType"] in ("IndexAccess", "MemberAccess"):
            target = target.get("baseExpression") or target["expression"]
        declaration = self._declarations.get(target.get("referencedDeclaration", 0))
        if declaration is None:  # of a contract inherited from another file, or what a call returned
            return " storage " in f"{target.get('typeDescriptions', {}).get('typeString', '')} "
        return bool(declaration["stateVariable"]) or declaration["storageLocation"] == "storage"

    def _of_Return(self, node: Node) -> Iterator[Change]:
        if node.get("expression"):
            yield "drop-return", *self._statement(node), "{}"

    def _of_FunctionDefinition(self, node: Node) -> Iterator[Change]:
        for modifier in node["modifiers"]:
            if modifier.get("kind") == "modifierInvocation":
                yield "drop-modifier", *span(modifier), ""

    def _of_Literal(self, node: Node) -> Iterator[Change]:
        start, end = span(node)
        text = self._source[start:end].decode()
        if node["kind"] == "bool":
            yield "constant", start, end, "false" if text == "true" else "true"
        elif node["kind"] == "number" and text.split()[0].replace("_", "").isdigit():
            number, *unit = text.split()
            value = int(number.replace("_", ""))
            yield "constant", start, end, " ".join([str(0 if value == 1 else value + 1), *unit])

    def _of_FunctionCall(self, node: Node) -> Iterator[Change]:
        if node["kind"] != "functionCall" or node.get("names"):
            return
        arguments = node["arguments"]
        for first, second in pairwise(arguments):
            (a, b), (c, d) = span(first), span(second)
            texts = self._source[a:b].decode(), self._source[c:d].decode()
            if _type(first) == _type(second) and texts[0] != texts[1]:
                yield "swap-arguments", a, d, f"{texts[1]}{self._source[b:c].decode()}{texts[0]}"

    def _of_IndexAccess(self, node: Node) -> Iterator[Change]:
        base, index = node["baseExpression"], node.get("indexExpression")
        if index is None or not _type(base).startswith("mapping("):
            return
        start, end = span(index)
        text = self._source[start:end].decode()
        if _type(index) == "address":
            yield "key", start, end, "address(this)" if text == "msg.sender" else "msg.sender"
        inner = base.get("indexExpression") if base["nodeType"] == "IndexAccess" else None
        if inner is not None and _type(inner) == _type(index):
            a, b = span(inner)
            yield "key", a, end, f"{text}{self._source[b:start].decode()}{self._source[a:b].decode()}"


def _only_reverts(body: Node) -> bool:
    if body["nodeType"] == "Block":
        statements = body["statements"]
        return len(statements) == 1 and _only_reverts(statements[0])
    return bool(body["nodeType"] == "RevertStatement")


def _type(node: Node) -> str:
    """Type of an argument; number literals count as what they are mostly put for."""
    text = str(node["typeDescriptions"].get("typeString", ""))
    return "uint256" if text.startswith("int_const") else text
