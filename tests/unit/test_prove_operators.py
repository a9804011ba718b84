"""Which changes the mutation operators make of a syntax tree."""

from __future__ import annotations

from typing import Any

from scripts.prove.mutation.operators import mutants

Node = dict[str, Any]


def _at(source: str, text: str, node: str, /, **fields: Any) -> Node:
    return {"nodeType": node, "src": f"{source.index(text)}:{len(text)}:0", **fields}


def _found(source: str, statement: Node) -> list[tuple[str, str]]:
    """Operator and mutated source, for one statement in a function."""
    function = {"nodeType": "FunctionDefinition", "name": "f", "modifiers": [], "body": [statement]}
    contract = {
        "nodeType": "ContractDefinition",
        "name": "A",
        "contractKind": "contract",
        "nodes": [function],
    }
    tree = {"nodeType": "SourceUnit", "nodes": [contract]}
    text = source.encode()
    return [(m.operator, m.apply(text).decode()) for m in mutants("A.sol", text, tree)]


def test_mutants__comparison_that_reverts__swapped_negated_and_dropped() -> None:
    source = "if (a <= 1) revert E();"
    literal = _at(source, "1", "Literal", kind="number")
    condition = _at(
        source,
        "a <= 1",
        "BinaryOperation",
        operator="<=",
        leftExpression=_at(source, "a", "Identifier"),
        rightExpression=literal,
    )
    body = _at(source, "revert E()", "RevertStatement")
    statement = _at(source, "if (a <= 1) revert E()", "IfStatement", condition=condition, trueBody=body)
    assert _found(source, statement) == [
        ("drop-check", "{}"),
        ("negate", "if (!(a <= 1)) revert E();"),
        ("compare", "if (a < 1) revert E();"),
        ("constant", "if (a <= 0) revert E();"),
    ]


def test_mutants__call__dropped_and_equal_types_swapped() -> None:
    source = "send(a, b, c);"
    types = {"a": "address", "b": "address", "c": "uint256"}
    arguments = [_at(source, n, "Identifier", typeDescriptions={"typeString": t}) for n, t in types.items()]
    call = _at(
        source,
        "send(a, b, c)",
        "FunctionCall",
        kind="functionCall",
        arguments=arguments,
        expression=_at(source, "send", "Identifier", name="send"),
    )
    statement = _at(source, "send(a, b, c)", "ExpressionStatement", expression=call)
    assert _found(source, statement) == [("drop-call", "{}"), ("swap-arguments", "send(b, a, c);")]


def test_mutants__mapping_of_addresses__read_of_another() -> None:
    source = "m[who];"
    access = _at(
        source,
        "m[who]",
        "IndexAccess",
        baseExpression=_at(
            source, "m", "Identifier", typeDescriptions={"typeString": "mapping(address => bool)"}
        ),
        indexExpression=_at(source, "who", "Identifier", typeDescriptions={"typeString": "address"}),
    )
    assert _found(source, access) == [("key", "m[msg.sender];")]


def test_mutants__assembly__left_alone() -> None:
    source = "assembly { a := 1 }"
    inner = _at(source, "1", "Literal", kind="number")
    assert _found(source, _at(source, source, "InlineAssembly", operations=[inner])) == []
