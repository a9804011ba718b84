"""The generated reference: NatSpec taken apart, a contract's page, an HTTP API's page."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.reference import contracts, http
from scripts.reference.contracts import Doc, parse


@pytest.mark.parametrize(
    ("text", "doc"),
    [
        ("", Doc()),
        ("Plain text\n over two lines.", Doc(notice="Plain text over two lines.")),
        ("@notice First. @notice Second.", Doc(notice="First. Second.")),
        ("@dev Why.\n@param id The job. Two sentences.", Doc("", "Why.", {"id": "The job. Two sentences."})),
        ("@return units Base units.\n@return The rest.", Doc(returns=("units Base units.", "The rest."))),
        ("@title A title @inheritdoc IJobMarket", Doc()),
        ("Mail me@notice.example or a@b.", Doc(notice="Mail me@notice.example or a@b.")),
        ("@param lonely", Doc(params={"lonely": ""})),
    ],
)  # fmt: skip
def test_parse__comment__by_its_tags(text: str, doc: Doc) -> None:
    assert parse(text) == doc


def _transfer(**changes: Any) -> dict[str, Any]:
    to = {"name": "to", "type": "address", "internalType": "contract IERC20"}
    terms = {"name": "", "type": "tuple[]", "internalType": "struct JobTerms[]", "components": []}
    return {
        "type": "function", "name": "transfer", "stateMutability": "view", "inputs": [to], "outputs": [terms],
    } | changes  # fmt: skip


def test_selector__each_kind__is_what_the_chain_has() -> None:
    inputs = [{"type": "address", "name": "to"}, {"type": "uint256", "name": "amount"}]
    assert contracts.selector({"type": "function", "name": "transfer", "inputs": inputs}) == "a9059cbb"
    # An error's is reckoned like a function's, an event's is its whole topic.
    assert contracts.selector({"type": "error", "name": "transfer", "inputs": inputs}) == "a9059cbb"
    event = {
        "type": "event", "name": "Transfer", "anonymous": False,
        "inputs": [{"type": kind, "name": ""} for kind in ("address", "address", "uint256")],
    }  # fmt: skip
    assert contracts.selector(event) == "ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"


def test_page__contract__trust_model_then_entries_with_their_comments() -> None:
    artefact = {
        "contractName": "Market", "sourcePath": "contracts/Market.sol",
        "natspec": {"details": "Trust model. - `OWNER` can stop it. - Nobody can take credits."},
        "abi": [_transfer()],
    }  # fmt: skip
    doc = Doc("Moves it.", "Cheap.", {"to": "Who gets it."}, ("what was moved",))
    page = contracts.page(artefact, {contracts.selector(_transfer()): doc})
    assert page == (
        "# Market\n\n`contracts/Market.sol`\n\n"
        "## Trust model\n\n- `OWNER` can stop it.\n- Nobody can take credits.\n\n"
        "## Functions\n\n### `transfer(address to) view returns (JobTerms[])`\n\n"
        "Moves it.\n\nCheap.\n\n- `to`: Who gets it.\n- returns what was moved\n"
    )


def test_page__entry_without_a_comment__is_there_all_the_same() -> None:
    artefact = {"contractName": "M", "sourcePath": "m.sol", "natspec": {}, "abi": [_transfer(outputs=[])]}
    assert (
        contracts.page(artefact, {}) == "# M\n\n`m.sol`\n\n## Functions\n\n### `transfer(address to) view`\n"
    )


def test_http_page__operations__parameters_body_and_answers() -> None:
    job = {"properties": {"id": {"type": "string"}, "state": {"type": "string"}}}
    reference = {"$ref": "#/components/schemas/Job"}
    several = {"application/json": {"schema": {"type": "array", "items": reference}}}
    limit, state = {"type": "integer", "minimum": 1}, {"enum": ["open", "done"]}
    document = {
        "info": {"title": "Node"},
        "components": {"schemas": {"Job": job, "Nothing": {"type": "string"}}},
        "paths": {
            "/jobs": {
                "post": {
                    "requestBody": {"content": {"application/json": {"schema": reference}}},
                    "responses": {
                        "404": {"description": "Not here"},
                        "201": {"content": several},
                    },
                },
                "get": {
                    "description": "All\n  jobs.",
                    "parameters": [
                        {"name": "state", "in": "query", "required": True, "schema": state},
                        {"name": "limit", "in": "query", "schema": {"anyOf": [limit, {"type": "null"}]}},
                    ],
                    "responses": {"200": {"description": "Them"}},
                },
            },
        },
    }
    assert http.page(document).partition("../api.md).\n")[2] == (
        "\n## `GET /jobs`\n\nAll jobs.\n\n"
        "- `state` (query): `open` | `done`\n- `limit` (query, optional): integer (minimum 1) or null\n"
        "- 200: Them\n\n"
        "## `POST /jobs`\n\n- body (application/json): Job {id, state}\n"
        "- 201: list of Job {id, state}\n- 404: Not here\n"
    )


def test_render__openapi__is_the_same_whatever_the_order() -> None:
    assert http.render({"b": 1, "a": "ä"}) == http.render({"a": "ä", "b": 1}) == '{\n "a": "ä",\n "b": 1\n}\n'
