"""Makes of openapi.yaml what people and programs can take along.

    api_page.py           write target/openapi.yaml, one file that refers to no other, and target/api.html, a page with calls
                          in three languages and all record types, which opens without a network
    api_page.py --check   write nothing; fail where a sample is missing, is made up by the page, or breaks its own schema

What a page needs beyond openapi.yaml would only be in the way of those who read it or generate from it.
"""

from __future__ import annotations

import argparse
import copy
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import referencing
import yaml
from referencing.jsonschema import DRAFT202012
from typescript import NODES, environment, install_node

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "shared" / "records" / "schemas"
TARGET = ROOT / "target"
REDOC = "redoc@2.5.4"

PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>ClinikAPI bulk</title><style>body {{ margin: 0 }}</style></head>
<body><div id="page"></div>
<script>{program}</script>
<script>Redoc.init({description}, {options}, document.getElementById("page"))</script>
</body>
</html>
"""
# Samples open, and no font from elsewhere.
OPTIONS = {"expandResponses": "200,201,202,204,307", "hideDownloadButton": True, "theme": {"typography": {"fontFamily": "sans-serif"}}}

JOB = "job_01KF0G8B50ZZZZZZZZZZZZZZZZ"
JSON = '-H "Content-Type: application/json"'

# By operation: method and path of curl with its body, TypeScript, command line (where there is a command for it).
SAMPLES: dict[str, tuple[str, str, str | None]] = {
    "startImport": (
        f"""-X POST "$API_URL/v1/bulk/import" {JSON} \\
  -d '{{"resourceType": "Patient", "data": "{{\\"firstName\\":\\"Jane\\",\\"lastName\\":\\"Doe\\"}}"}}'""",
        "await clinik.bulk.import({ resourceType: 'Patient', data: [{ firstName: 'Jane', lastName: 'Doe' }] });",
        "clinik-bulk import Patient patients.ndjson",
    ),
    "startExport": (
        f"""-X POST "$API_URL/v1/bulk/export" {JSON} \\
  -d '{{"resourceTypes": ["Patient", "Encounter"], "files": "perType", "compression": "gzip"}}'""",
        "await clinik.bulk.export({ resourceTypes: ['Patient', 'Encounter'], files: 'perType', compression: 'gzip' });",
        "clinik-bulk export Patient,Encounter --per-type --gzip --out backup",
    ),
    "createUpload": (
        f"""-X POST "$API_URL/v1/bulk/uploads" {JSON} -d '{{"bytes": 1048576}}'""",
        "await clinik.bulk.createUpload({ bytes: 1_048_576 });",
        None,
    ),
    "listJobs": (
        '"$API_URL/v1/bulk/jobs?status=failed&count=50"',
        "for await (const job of clinik.bulk.jobs({ status: 'failed' })) console.log(job.id);",
        "clinik-bulk jobs list",
    ),
    "getJob": (f'"$API_URL/v1/bulk/jobs/{JOB}"', f"await clinik.bulk.getJob('{JOB}');", f"clinik-bulk jobs show {JOB}"),
    "cancelJob": (
        f'-X POST "$API_URL/v1/bulk/jobs/{JOB}/cancel"',
        f"await clinik.bulk.cancelJob('{JOB}');",
        f"clinik-bulk jobs cancel {JOB}",
    ),
    "deleteJob": (
        f'-X DELETE "$API_URL/v1/bulk/jobs/{JOB}"',
        f"await clinik.bulk.deleteJob('{JOB}');",
        f"clinik-bulk jobs delete {JOB}",
    ),
    "getFile": (
        f'-L -O "$API_URL/v1/bulk/jobs/{JOB}/files/Patient.ndjson.gz"',
        f"const stream = await clinik.bulk.download('{JOB}', 'Patient.ndjson.gz');",
        f"clinik-bulk download {JOB} --out backup",
    ),
    "validateRecords": (
        f"""-X POST "$API_URL/v1/bulk/validate" {JSON} \\
  -d '{{"resourceType": "Patient", "data": "{{\\"firstName\\":\\"Jane\\"}}"}}'""",
        "await clinik.bulk.validate({ resourceType: 'Patient', data: [{ firstName: 'Jane' }] });",
        "clinik-bulk validate Patient patients.ndjson",
    ),
    "getLimits": ('"$API_URL/v1/bulk/limits"', "await clinik.bulk.getLimits();", "clinik-bulk limits"),
    "health": ('"$API_URL/health"', "await fetch(`${process.env.API_URL}/health`);", None),
}


def samples(operation: str) -> list[dict[str, str]]:
    curl, typescript, command = SAMPLES[operation]
    # `Authorization` and not `x-api-key`: curl drops it where a link leads to another host.
    key = "" if operation == "health" else ' -H "Authorization: Bearer $API_KEY"'
    shown = [{"lang": "Shell", "label": "curl", "source": f"curl{key} {curl}"}]
    shown.append({"lang": "TypeScript", "label": "TypeScript", "source": typescript})
    return shown + ([{"lang": "Shell", "label": "Command line", "source": command}] if command else [])


# What the required members of records hold in samples, by type and member, or by member alone.
TEXTS = {
    "Composition.title": "Discharge summary", "Composition.type": "Discharge summary", "Claim.type": "professional",
    "ClaimResponse.type": "professional", "ExplanationOfBenefit.type": "professional", "AuditEvent.type": "rest",
    "Patient.gender": "female", "Condition.code": "Essential hypertension", "AllergyIntolerance.code": "Penicillin",
    "Slot.end": "2026-01-15T09:45:00Z", "MeasureReport.start": "2026-01-01", "MeasureReport.end": "2026-03-31",
    "Location.name": "Ward 2 East", "CareTeam.name": "Diabetes care team", "DeviceRequest.code": "Wheelchair", "Medication.code": "Lisinopril 10 MG",
    "ChargeItem.code": "Office visit", "Observation.code": "Heart rate", "DiagnosticReport.code": "Complete blood count",
    "category": "research", "class": "AMB", "content": "https://example.org/documents/1", "contentType": "image/png",
    "date": "2026-01-15", "dateWritten": "2026-01-15", "description": "Walk 30 minutes a day", "deviceName": "Blood pressure monitor",
    "doseStatus": "valid", "firstName": "Jane", "forecastStatus": "due", "lastName": "Doe", "medication": "Lisinopril 10 MG",
    "name": "Example Clinic", "observer": "Example Clinic", "paymentDate": "2026-01-15", "priority": "normal", "product": "lens",
    "purpose": "benefits", "relationship": "mother", "role": "doctor", "scope": "patient-privacy",
    "summary": "Recovers well after the operation", "targetDisease": "Measles", "text": "Discharged in good health",
    "title": "Discharge summary", "vaccineCode": "MMR", "who": "practitioner-1",
    "fhir-date-time": "2026-01-15T09:15:00Z", "fhir-date": "1990-01-15",
}  # fmt: skip
# Members that are shown although they are not required.
ALSO_SHOWN = {
    "Patient": ("gender", "birthDate"),
    "Observation": ("effectiveDateTime",),
    "Condition": ("code",),
    "AllergyIntolerance": ("code",),
}


def record(schema: dict, shared: dict) -> dict:
    """A record with the members that its type requires."""
    kind = schema["title"]
    shown = (*schema.get("required", []), *ALSO_SHOWN.get(kind, ()))
    members = {name: value_of(schema["properties"][name], kind, name, shared) for name in shown}
    return {"resourceType": kind, "id": f"{kind.lower()}-1", **members}


def value_of(schema: dict, kind: str, name: str, shared: dict):
    if "$ref" in schema:
        return value_of(shared[schema["$ref"].rsplit("/", 1)[-1]], kind, name, shared)
    if "enum" in schema:
        return TEXTS.get(f"{kind}.{name}", schema["enum"][0])
    if "anyOf" in schema:
        return value_of(schema["anyOf"][0], kind, name, shared)
    wanted = schema["type"] if isinstance(schema["type"], str) else schema["type"][0]
    if wanted == "object":
        return {member: value_of(schema["properties"][member], kind, member, shared) for member in schema.get("required", [])}
    if wanted == "array":
        return [value_of(schema["items"], kind, name.removesuffix("s") if name.endswith("Ids") else name, shared)]
    if wanted != "string":
        return {"integer": 1, "number": 120.5, "boolean": True}[wanted]
    if name.endswith("Id"):
        return f"{name.removesuffix('Id').lower()}-1"
    for known in (f"{kind}.{name}", name, schema.get("format")):
        if known in TEXTS:
            return TEXTS[known]
    sys.exit(f"error: TEXTS has no sample of {kind}.{name}")


def bundle() -> dict:
    """openapi.yaml with all that it refers to, as one document."""
    api = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    schemas = api["components"]["schemas"]
    for name, schema in schemas.items():
        if schema.get("$ref", "").startswith("shared/"):
            facts = json.loads((ROOT / schema["$ref"]).read_text())
            schemas[name] = {key: value for key, value in facts.items() if not key.startswith("$")}
    schemas |= json.loads((RECORDS / "definitions.json").read_text())["$defs"]
    return json.loads(re.sub(r'"(?:definitions\.json)?#/\$defs/', '"#/components/schemas/', json.dumps(api)))


def record_types(api: dict) -> list[str]:
    """The types of records, in the order of openapi.yaml."""
    return api["components"]["schemas"]["ResourceType"]["enum"]


def described(api: dict) -> dict:
    """The document as the page shows it: calls in three languages, a chapter for each record type."""
    api = copy.deepcopy(api)
    for path in api["paths"].values():
        for operation in path.values():
            operation["x-codeSamples"] = samples(operation["operationId"])
    schemas, examples = api["components"]["schemas"], api["components"]["examples"]
    # Redoc shows an alternative by members of its own.
    forms = schemas["ImportRequest"]
    for form in forms["oneOf"]:
        if "title" not in form:
            raise SystemExit("a form of ImportRequest has no title: the page would call it \"object\"")
        form["properties"] = {name: forms["properties"].pop(name) for name in form["required"]}
    types = record_types(api)
    for name in types:
        examples[name] = {"summary": f"A record of the type {name}", "value": record(schemas[name], schemas)}
        place = f'schemaRef="#/components/schemas/{name}" exampleRef="#/components/examples/{name}"'
        api["tags"].append({"name": name, "description": f"<SchemaDefinition {place} />"})
    api["x-tagGroups"] = [{"name": "Calls", "tags": ["Bulk", "Service"]}, {"name": "Record types", "tags": types}]
    return api


def resolved(api: dict, value: dict) -> dict:
    """What a reference into the document stands for."""
    while "$ref" in value:
        at = api
        for part in value["$ref"].removeprefix("#/").split("/"):
            at = at[part.replace("~1", "/").replace("~0", "~")]
        value = at
    return value


def references(value) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


def contents(api: dict) -> Iterator[tuple[str, dict]]:
    """Every body that is sent or answered: its place in the document, and its media type object."""
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            bodies = {status: resolved(api, answer) for status, answer in operation["responses"].items()}
            for name, body in {"body": operation.get("requestBody", {}), **bodies}.items():
                for media_type, content in body.get("content", {}).items():
                    yield f"{method.upper()} {path}, {name}, {media_type}", content


def texts(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from texts(inner)


def violations(api: dict) -> list[str]:
    """What is wrong with the samples of the document that the page shows."""
    found = [f"{reference} is of another file" for reference in references(api) if not reference.startswith("#/")]
    if found:
        return found
    for reference in sorted(set(references(api))):
        try:
            resolved(api, {"$ref": reference})
        except KeyError:
            found.append(f"{reference} is not there")
    if found:
        return found
    resource = referencing.Resource(contents=api, specification=DRAFT202012)
    registry = referencing.Registry().with_resource("urn:api", resource)
    local = re.compile(r'"#/')

    def broken(schema: dict, value) -> Iterator[str]:
        absolute = json.loads(local.sub('"urn:api#/', json.dumps(schema)))
        for error in jsonschema.Draft202012Validator(absolute, registry=registry).iter_errors(value):
            yield f"{error.json_path}: {error.message}"

    shown = []
    for place, content in contents(api):
        if not content.get("examples"):
            found.append(f"{place}: no example")
        for name, example in content.get("examples", {}).items():
            shown.append((f"{place}, {name}", content["schema"], resolved(api, example)))
    for name in record_types(api):
        schema = {"$ref": f"#/components/schemas/{name}"}
        shown.append((name, schema, api["components"]["examples"][name]))
    for place, schema, example in shown:
        if not example.get("summary"):
            found.append(f"{place}: no summary")
        if "string" in texts(example["value"]):
            found.append(f"{place}: a value is \"string\"")
        found += [f"{place}: {fault}" for fault in broken(schema, example["value"])]
    print(f"{len(shown)} samples of bodies and records")
    return found


class Dumper(yaml.SafeDumper):
    """Without anchors, and with texts of several lines as such."""

    def ignore_aliases(self, _data) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.Node:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, Dumper.represent_text)


def redoc() -> str:
    """The page's program, out of the package as it is published."""
    folder = ROOT / ".tools" / "docs"
    name, version = REDOC.split("@")
    package = folder / f"{name}-{version}.tgz"
    if not package.exists():
        folder.mkdir(parents=True, exist_ok=True)
        install_node(NODES[0])
        subprocess.run(["npm", "pack", "--silent", REDOC], cwd=folder, env=environment(), check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(package) as archive:
        return archive.extractfile("package/bundles/redoc.standalone.js").read().decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    only_check = parser.parse_args().check
    api = bundle()
    page = described(api)
    found = violations(page)
    if found:
        sys.exit("\n".join(f"error: openapi.yaml: {fault}" for fault in found))
    if only_check:
        return
    TARGET.mkdir(exist_ok=True)
    (TARGET / "openapi.yaml").write_text(yaml.dump(api, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120))
    # Within a script element nothing may look like its end.
    inline = lambda text: text.replace("</script", "<\\/script")  # noqa: E731
    text = PAGE.format(program=inline(redoc()), description=inline(json.dumps(page)), options=json.dumps(OPTIONS))
    (TARGET / "api.html").write_text(text)


if __name__ == "__main__":
    main()
