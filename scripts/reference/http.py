"""A page for each HTTP API, from the OpenAPI document of a running node.

`docs/openapi/*.json` are the documents; a test holds them against a node with everything switched on, and
writes them afresh where `SCRIP_WRITE_OPENAPI` is set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

METHODS: Final = ("get", "post", "put", "patch", "delete")

Node = Mapping[str, Any]


def pages(documents: Path) -> dict[str, str]:
    """Markdown of every page by file name: `provider.json` becomes `http-provider.md`."""
    return {
        f"http-{file.stem}.md": page(json.loads(file.read_text()))
        for file in sorted(documents.glob("*.json"))
    }


def render(document: Node) -> str:
    """An OpenAPI document as the stable text that is committed."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def page(document: Node) -> str:
    """One API's page: every operation with its parameters, body and answers."""
    lines = [
        f"# {document['info']['title']}: HTTP API\n",
        "Generated from the node's own `/openapi.json` by `python -m scripts.reference`. "
        "What is public, how requests are signed and the form of errors: [../api.md](../api.md).\n",
    ]
    for path, operations in sorted(document["paths"].items()):
        for method in METHODS:
            if method in operations:
                lines.extend(_operation(f"{method.upper()} {path}", operations[method], document))
    return "\n".join(lines)


def _operation(title: str, operation: Node, document: Node) -> Iterator[str]:
    yield f"## `{title}`\n"
    if text := operation.get("description"):
        yield " ".join(text.split()) + "\n"
    for parameter in operation.get("parameters", ()):
        must = "" if parameter.get("required") else ", optional"
        yield f"- `{parameter['name']}` ({parameter['in']}{must}): {_type(parameter['schema'], document)}"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"- body ({kind}): {_type(content.get('schema', {}), document)}"
    for status, answer in sorted(operation["responses"].items()):
        kinds = [_type(content.get("schema", {}), document) for content in answer.get("content", {}).values()]
        yield f"- {status}: {', '.join(kinds) or answer['description']}"
    yield ""


def _type(schema: Node, document: Node) -> str:
    """A schema in a few words; an object by its fields."""
    if name := schema.get("$ref", "").rpartition("/")[2]:
        found = document["components"]["schemas"][name]
        fields = found.get("properties")
        return f"{name} {{{', '.join(fields)}}}" if fields else name
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(option, document) for option in options)
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), document)}"
    limits = [
        f"{name} {schema[name]}" for name in ("minimum", "maximum", "maxLength", "pattern") if name in schema
    ]
    kind = str(schema.get("format") or schema.get("type", "any"))
    if allowed := schema.get("enum"):
        kind = " | ".join(f"`{value}`" for value in allowed)
    return f"{kind} ({', '.join(limits)})" if limits else kind
