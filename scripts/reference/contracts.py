"""A page for each contract: its trust model, functions, events and errors, as NatSpec describes them.

What a function means is written once, in an interface; a contract only implements it. So the comments of all
our sources are collected by selector, and a page looks up each entry of its contract's ABI.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from eth_utils.abi import event_abi_to_log_topic, function_abi_to_4byte_selector

from scripts.export_abi import ARTEFACTS, is_exported

TAG: Final = re.compile(r"(?:^|\s)@(notice|title|dev|return|param|inheritdoc)\s")
KINDS: Final = {"FunctionDefinition", "EventDefinition", "ErrorDefinition", "VariableDeclaration"}
SELECTORS: Final = ("functionSelector", "eventSelector", "errorSelector")
SECTIONS: Final = (("function", "Functions"), ("event", "Events"), ("error", "Errors"))

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Doc:
    """One NatSpec comment, taken apart. `returns` are in order; a named one begins with its name."""

    notice: str = ""
    dev: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    returns: Sequence[str] = ()


def pages(artefacts: Path = ARTEFACTS) -> dict[str, str]:
    """Markdown of every page by file name, the index (`README.md`) among them."""
    found = {item["contractName"]: item for item in map(_read, sorted(artefacts.glob("*.json")))}
    contracts = {name: item for name, item in found.items() if is_exported(item)}
    made = {f"{name}.md": page(item, _docs_for(item, found)) for name, item in contracts.items()}
    return made | {"README.md": index(list(contracts))}


def _read(file: Path) -> dict[str, Any]:
    artefact: dict[str, Any] = json.loads(file.read_text())
    return artefact


def _docs_for(artefact: Entry, found: Mapping[str, Entry]) -> dict[str, Doc]:
    """Comments by selector, of a contract's own source and of what it is made of."""
    docs: dict[str, Doc] = {}
    sources = [found[name] for name in artefact["dependencies"] if name in found] + [artefact]
    # Interfaces last: theirs is the text that counts.
    for source in sorted(sources, key=_is_interface):
        docs |= _docs(source["ast"])
    return docs


def _is_interface(artefact: Entry) -> bool:
    return str(artefact["sourcePath"]).startswith("contracts/interfaces/")


def index(names: Sequence[str]) -> str:
    """The list of the pages."""
    lines = "\n".join(f"- [{name}]({name}.md)" for name in sorted(names))
    return (
        "# Contracts\n\nGenerated from NatSpec by `python -m scripts.reference`. Each page: "
        f"who can do what to whom, the contract's functions, events and errors.\n\n{lines}\n"
    )


def page(artefact: Entry, docs: Mapping[str, Doc]) -> str:
    """A contract's page."""
    name, natspec = artefact["contractName"], artefact["natspec"]
    parts = [f"# {name}\n", f"`{artefact['sourcePath']}`\n"]
    if trust := natspec.get("details"):
        parts.append("\n".join(_bullets(trust)) + "\n")
    for kind, title in SECTIONS:
        entries = sorted((e for e in artefact["abi"] if e["type"] == kind), key=lambda e: str(e["name"]))
        if entries:
            parts.append(f"## {title}\n")
            parts.extend(_entry(entry, docs.get(selector(entry), Doc())) for entry in entries)
    return "\n".join(parts)


def selector(entry: Entry) -> str:
    """What an entry of an ABI is found by: 4 bytes of a function or an error, 32 of an event, as hex."""
    if entry["type"] == "event":
        return event_abi_to_log_topic(entry).hex()  # type: ignore[arg-type]
    return function_abi_to_4byte_selector({**entry, "type": "function"}).hex()  # type: ignore[arg-type]


def _entry(entry: Entry, doc: Doc) -> str:
    lines = [f"### `{_signature(entry)}`\n"]
    lines += [f"{text}\n" for text in (doc.notice, doc.dev) if text]
    named = [(item["name"], doc.params.get(item["name"], "")) for item in entry["inputs"]]
    lines += [f"- `{name}`: {text}" for name, text in named if text]
    lines += [f"- returns {text}" for text in doc.returns]
    return "\n".join(lines) + ("\n" if lines[-1].startswith("- ") else "")


def _signature(entry: Entry) -> str:
    inputs = ", ".join(_argument(item) for item in entry["inputs"])
    text = f"{entry['name']}({inputs})"
    if entry["type"] != "function":
        return text
    if entry["stateMutability"] != "nonpayable":
        text += f" {entry['stateMutability']}"
    outputs = ", ".join(_argument(item) for item in entry["outputs"])
    return f"{text} returns ({outputs})" if outputs else text


def _argument(item: Entry) -> str:
    # `struct JobTerms[]`, `enum Status`, `contract IERC20`: the name that the source uses.
    kind = str(item.get("internalType", item["type"])).removeprefix("struct ").removeprefix("enum ")
    kind = "address" if kind.startswith("contract ") else kind
    indexed = " indexed" if item.get("indexed") else ""
    return f"{kind}{indexed} {item['name']}".strip()


def _bullets(text: str) -> Iterator[str]:
    """`Trust model. - a - b` as a heading and a list. The compiler joins the lines of a comment."""
    head, *items = re.split(r"\s+- (?=[A-Z`])", text)
    yield f"## {head.rstrip('.')}\n" if items else " ".join(head.split())
    for item in items:
        yield f"- {' '.join(item.split())}"


def _docs(node: Any) -> Iterator[tuple[str, Doc]]:
    """(selector, comment) of everything below a node of a syntax tree that has both."""
    if isinstance(node, list):
        for item in node:
            yield from _docs(item)
    elif isinstance(node, dict):
        key = next((node[name] for name in SELECTORS if name in node), None)
        if node.get("nodeType") in KINDS and key and node.get("documentation"):
            doc = parse(node["documentation"]["text"])
            if doc != Doc():
                yield key, doc
        yield from _docs(node.get("nodes", []))


def parse(text: str) -> Doc:
    """Take a comment apart by its tags. Text before the first tag is its notice."""
    notice: list[str] = []
    dev: list[str] = []
    params: dict[str, str] = {}
    returns: list[str] = []
    pieces = TAG.split(" " + text)
    for tag, body in zip(["notice", *pieces[1::2]], [pieces[0], *pieces[2::2]], strict=True):
        words = " ".join(body.split())
        if tag == "param":
            name, _, rest = words.partition(" ")
            params[name] = rest
        elif tag == "return":
            returns.append(words)
        elif words and tag in ("notice", "dev"):
            (notice if tag == "notice" else dev).append(words)
    return Doc(" ".join(notice), " ".join(dev), params, tuple(returns))
