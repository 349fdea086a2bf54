"""Builds the OpenAPI document from the contract in openapi.json and the table of refusals."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import hdrs

from service import __version__, record_warnings
from service.errors import ClientGone, ServiceError
from service.refusals import TABLE
from service.web.accept import PAGE, TEXT
from service.web.errors import problem, problem_document
from service.web.request_log import REQUEST_ID_HEADER

Node = dict[str, Any]
Lists = Mapping[str, Sequence[str]]

_CONTRACT = Path(__file__).with_name("openapi.json")
_PROBLEM = "application/problem+json"
_KINDS = {kind.status: kind for kind in ServiceError.__subclasses__()}


def build_document() -> Node:
    """Return the document for this version of the service, without its servers.

    In openapi.json each operation names the codes that it can give: `x-refusals` has those with the status of the
    table, `x-refusals-as` those with an older API's own status. "*name" means all codes of the list with that name
    in `x-refusal-lists`. Raises KeyError for a code that is not in the table.
    """
    document: Node = json.loads(_CONTRACT.read_text(encoding="utf-8"))
    document["info"]["version"] = __version__
    lists = document.pop("x-refusal-lists")
    components = document["components"]
    _describe_problem(components["schemas"]["Problem"])
    _describe_warning(components["schemas"]["RecordWarning"])
    components["examples"] = {}
    for item in document["paths"].values():
        for method, operation in item.items():
            given = _by_status(_pop_refusals(operation, lists))
            operation["responses"] |= {
                str(status): _response(refusals, (*TEXT, PAGE[0]) if method == "get" else TEXT)
                for status, refusals in given.items()
            }
            if method == "head":
                _drop_bodies(operation)
            else:
                components["examples"] |= dict(_examples(given))
    return document


def _describe_problem(schema: Node) -> None:
    schema["properties"]["code"]["enum"] = [row.code for row in TABLE.values() if row.kind is not ClientGone]
    schema["examples"] = [problem_document(TABLE["truncated"].shown())]


def _describe_warning(schema: Node) -> None:
    schema["properties"]["code"]["enum"] = list(record_warnings.TABLE)
    schema["examples"] = [asdict(record_warnings.WRONG_BLOCK_ALIGN(declared=4, right=2))]


def _pop_refusals(operation: Node, lists: Lists) -> Iterator[ServiceError]:
    for code in _codes(operation.pop("x-refusals"), lists):
        yield TABLE[code].shown()
    for status, names in operation.pop("x-refusals-as", {}).items():
        for code in _codes(names, lists):
            yield TABLE[code].shown().as_kind(_KINDS[int(status)])


def _codes(names: Sequence[str], lists: Lists) -> Iterator[str]:
    for name in names:
        yield from lists[name[1:]] if name.startswith("*") else [name]


def _by_status(refusals: Iterator[ServiceError]) -> dict[int, list[ServiceError]]:
    given: dict[int, list[ServiceError]] = {}
    for refusal in refusals:
        given.setdefault(refusal.status, []).append(refusal)
    return dict(sorted(given.items()))


def _response(refusals: Sequence[ServiceError], others: Sequence[str]) -> Node:
    """Describe the response with one status, the codes that it may have, and the other types that it comes in."""
    first = refusals[0]
    codes = [refusal.code for refusal in refusals]
    headers = [REQUEST_ID_HEADER, *(name for name in problem(first).headers if name != hdrs.CONTENT_TYPE)]
    return {
        "description": f"{first.title}: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": {name: _reference("headers", name.replace("-", "")) for name in headers},
        "content": {
            _PROBLEM: {
                "schema": _reference("schemas", "Problem")
                | {"properties": {"status": {"const": first.status}, "code": {"enum": codes}}},
                "examples": {refusal.code: _reference("examples", _example_name(refusal)) for refusal in refusals},
            },
            **{media_type: {"schema": {"type": "string"}} for media_type in others},
        },
    }


def _drop_bodies(operation: Node) -> None:
    for response in operation["responses"].values():
        response.pop("content", None)


def _examples(given: Mapping[int, Sequence[ServiceError]]) -> Iterator[tuple[str, Node]]:
    for refusals in given.values():
        for refusal in refusals:
            yield _example_name(refusal), {"value": problem_document(refusal)}


def _example_name(refusal: ServiceError) -> str:
    is_own_status = TABLE[refusal.code].kind.status == refusal.status
    return refusal.code if is_own_status else f"{refusal.code}_{refusal.status}"


def _reference(section: str, name: str) -> Node:
    return {"$ref": f"#/components/{section}/{name}"}
