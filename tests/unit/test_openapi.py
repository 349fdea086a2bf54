"""The OpenAPI document is valid, and its routes, refusals and limits are those of the service."""

import ast
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import openapi_spec_validator
import pytest

import service
from service import errors, record_warnings, refusals
from service.app import create_app
from service.audio import mp3
from service.database.records import OTHER_WARNING
from service.database.users import LONGEST_USERNAME
from service.errors import ServiceError
from service.names import LONGEST_FILENAME
from service.settings import Settings
from service.uploads.idempotency import LONGEST_KEY
from service.web.routes.docs import openapi_document

PACKAGE = Path(service.__file__).parent
DOCUMENT = json.loads(b"".join(openapi_document("https://wavepress.example/api")))
COMPONENTS = DOCUMENT["components"]
SCHEMAS = COMPONENTS["schemas"]
PROBLEM = "application/problem+json"
ERRORS = {
    name: error
    for name, error in vars(errors).items()
    if isinstance(error, type) and issubclass(error, ServiceError) and error is not ServiceError
}

ROWS = {name: row for name, row in vars(refusals).items() if isinstance(row, refusals.Refusal)}

# A title and a code.
Refusal = tuple[str, str]


def walk(node: Any, path: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the document with its address, except those inside examples."""
    if isinstance(node, dict):
        yield path, node
        node = {name: value for name, value in node.items() if name not in {"example", "examples", "enum"}}
        children = [(name.replace("~", "~0").replace("/", "~1"), value) for name, value in node.items()]
    else:
        children = [(str(index), value) for index, value in enumerate(node)] if isinstance(node, list) else []
    for name, value in children:
        yield from walk(value, f"{path}/{name}")


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return the object that a reference points at, or the object itself if it is not a reference."""
    while "$ref" in node and node["$ref"].startswith("#/components/"):
        section, name = node["$ref"].split("/")[2:]
        node = COMPONENTS[section][name]
    return node


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield path, method.upper(), operation


def anonymous(path: str) -> str:
    """Return a path without the names of its parameters, which may differ, and without the slash at its end."""
    return re.sub(r"\{\w+\}", "{}", path).rstrip("/") or "/"


@pytest.fixture
def routes(tmp_path: Path) -> set[tuple[str, str]]:
    app = create_app(Settings.model_validate({"data_dir": tmp_path, "metrics_port": None}), "")
    listed = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    return {(method, anonymous(path)) for method, path in listed if method != "*"}


def test_the_document_is_openapi_3_1() -> None:
    openapi_spec_validator.validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["version"] == service.__version__
    assert DOCUMENT["servers"] == [{"url": "https://wavepress.example/api"}]


def test_every_route_is_documented_and_every_documented_one_is_there(routes: set[tuple[str, str]]) -> None:
    documented = {(method, anonymous(path)) for path, method, _ in operations()}
    assert {route for route in documented if route[0] != "HEAD"} == {route for route in routes if route[0] != "HEAD"}


def test_every_route_that_takes_get_takes_head(routes: set[tuple[str, str]]) -> None:
    heads = {path for method, path in routes if method == "HEAD"}
    assert heads == {path for method, path in routes if method == "GET"}
    assert {anonymous(path) for path, method, _ in operations() if method == "HEAD"} <= heads


def test_every_operation_has_a_name_a_summary_and_a_tag() -> None:
    tags = [tag["name"] for tag in DOCUMENT["tags"]]
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] and operation["tags"][0] in tags for _, _, operation in operations())


def test_every_component_is_used() -> None:
    used = {node["$ref"] for _, node in walk(DOCUMENT) if "$ref" in node}
    used |= {example["$ref"] for _, node in walk(DOCUMENT) for example in named_examples(node) if "$ref" in example}
    there = {f"#/components/{section}/{name}" for section, parts in COMPONENTS.items() for name in parts}
    assert there - used == {"#/components/securitySchemes/bearer"}


def named_examples(node: dict[str, Any]) -> list[dict[str, Any]]:
    examples = node.get("examples")
    return list(examples.values()) if isinstance(examples, dict) and "schema" in node else []


def examples_with_schemas() -> Iterator[tuple[str, Any, dict[str, Any]]]:
    for path, node in walk(DOCUMENT):
        if "schema" in node:
            values = [resolved(example)["value"] for example in named_examples(node)]
            values += [node["example"]] if "example" in node else []
            yield from ((path, value, node["schema"]) for value in values)
        elif isinstance(node.get("examples"), list):
            yield from ((path, value, node) for value in node["examples"])


def test_every_example_fits_its_schema() -> None:
    examples = list(examples_with_schemas())
    assert len(examples) > 100
    for path, value, schema in examples:
        validator = jsonschema_rs.Draft202012Validator(schema | {"components": COMPONENTS}, validate_formats=True)
        assert [error.message for error in validator.iter_errors(value)] == [], path


def problems() -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every problem of every operation, with the status under which it is documented."""
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            if PROBLEM in (content := resolved(response).get("content", {})):
                yield int(status), content[PROBLEM]


def test_every_problem_is_shown_once_for_each_of_its_codes() -> None:
    for status, media in problems():
        shown = [resolved(example)["value"] for example in named_examples(media)]
        assert media["schema"]["properties"]["status"] == {"const": status}
        assert sorted(example["code"] for example in shown) == sorted(media["schema"]["properties"]["code"]["enum"])


def test_every_refusal_is_a_problem() -> None:
    for path, method, operation in operations():
        for status, response in operation["responses"].items():
            if int(status) >= 400 and method != "HEAD":
                others = ["text/plain", "text/html"] if method == "GET" else ["text/plain"]
                assert list(resolved(response)["content"]) == [PROBLEM, *others], (path, method, status)


def called(node: ast.AST) -> str:
    """Return the last part of the name that a call calls; "" if the node is not a call."""
    return ast.unparse(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""


def refusals_in(tree: ast.AST) -> Iterator[Refusal]:
    """Yield the title and the code of every refusal that a module makes by calling a row of the table."""
    nodes = list(ast.walk(tree))
    kinds = {
        node.func.value: node
        for node in nodes
        if isinstance(node, ast.Call) and called(node) == "as_kind"
        if isinstance(node.func, ast.Attribute)
    }
    compared = {node.value for node in nodes if isinstance(node, ast.Attribute) and node.attr == "code"}
    named = {node for node in nodes if isinstance(node, ast.Name) and node.id in ROWS} - compared
    for node in nodes:
        if isinstance(node, ast.Call) and called(node) in ROWS:
            named.discard(node.func)
            row = ROWS[called(node)]
            other = ast.unparse(kinds[node].args[0]) if node in kinds else ""
            # A kind that is not in service.errors is a subclass of the row's own.
            yield ERRORS.get(other, row.kind).title, row.code
        else:
            assert called(node) not in ERRORS, "only a row of the table may make an error"
    assert not named, "a row is named without being called"


@functools.cache
def raised() -> set[Refusal]:
    """Return the title and the code of every refusal that the package makes."""
    sources = [source for source in PACKAGE.rglob("*.py") if source.name not in {"errors.py", "refusals.py"}]
    sources.append(PACKAGE / "web" / "errors.py")
    return {found for source in sources for found in refusals_in(ast.parse(source.read_text(encoding="utf-8")))}


# The client is gone, so nobody reads this answer.
UNSEEN = {"client_gone"}
# A request that is not HTTP, and a preflight, reach no route, so the document describes this at its top.
NOWHERE = {"bad_request", "missing_host", "origin_not_allowed"}


def test_every_row_of_the_table_is_used_somewhere() -> None:
    assert {code for _, code in raised()} == set(refusals.TABLE)


def test_every_code_of_the_table_is_listed() -> None:
    assert set(SCHEMAS["Problem"]["properties"]["code"]["enum"]) == set(refusals.TABLE) - UNSEEN


def test_what_builds_the_document_is_not_in_it() -> None:
    assert [path for path, node in walk(DOCUMENT) if any(name.startswith("x-") for name in node)] == []


def test_an_example_says_what_the_service_says() -> None:
    for _, media in problems():
        for named in named_examples(media):
            example = resolved(named)["value"]
            shown = refusals.TABLE[example["code"]].shown()
            assert (example["detail"], example.get("offset")) == (shown.detail, shown.offset)


def test_every_code_is_documented_where_it_is_given_with_its_own_title() -> None:
    shown = {
        (example["title"], example["code"])
        for _, media in problems()
        for example in (resolved(named)["value"] for named in named_examples(media))
    }
    # The first older API answers "malformed request" for a file that the others refuse with 415 or 422.
    corrupt = {
        (errors.MalformedRequest.title, code)
        for title, code in raised()
        if title in {errors.UnsupportedMedia.title, errors.Unprocessable.title}
    }
    assert {code for _, code in raised() - shown} == UNSEEN | NOWHERE
    assert shown - raised() <= corrupt
    assert all(f"`{code}`" in DOCUMENT["info"]["description"] for code in NOWHERE)


def test_every_warning_is_a_row_of_the_table_and_documented() -> None:
    assert SCHEMAS["RecordWarning"]["properties"]["code"]["enum"] == list(record_warnings.TABLE)
    assert OTHER_WARNING in record_warnings.TABLE
    trees = {source: ast.parse(source.read_text(encoding="utf-8")) for source in PACKAGE.rglob("*.py")}
    makers = {
        source.relative_to(PACKAGE).as_posix()
        for source, tree in trees.items()
        if any(called(node) == "RecordWarning" for node in ast.walk(tree))
    }
    assert makers == {"record_warnings.py"}, "only a row of the table may make a warning"


def test_every_row_of_the_table_of_warnings_is_used() -> None:
    rows = {name for name, row in vars(record_warnings).items() if isinstance(row, record_warnings.WarningKind)}
    used = {
        called(node)
        for source in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    }
    assert rows - used == {"OTHER"}, "an older service has made it"


def test_documented_limits_are_those_of_the_service() -> None:
    rates = {rate for sample_rate in mp3.SAMPLE_RATES for rate in mp3.bit_rates(sample_rate)}
    assert SCHEMAS["BitRate"]["enum"] == sorted(rates)
    assert SCHEMAS["Record"]["properties"]["sample_rate"]["enum"] == list(mp3.SAMPLE_RATES)
    assert SCHEMAS["Record"]["properties"]["filename"]["maxLength"] == LONGEST_FILENAME
    assert SCHEMAS["Username"]["maxLength"] == LONGEST_USERNAME
    assert COMPONENTS["parameters"]["IdempotencyKey"]["schema"]["maxLength"] == LONGEST_KEY


def test_answers_share_the_document_whatever_the_url_is() -> None:
    documents = [openapi_document(url)[0] for url in ("http://localhost:1", "http://localhost:2")]
    assert documents[0] is documents[1]
