"""Writes target/api.yaml: openapi.yaml as the API page shows it, with calls in three languages and all record types.

What a page needs beyond the description would only be in the way of those who read or generate from openapi.yaml.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "api.yaml"

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


def example(resource_type: str, schema: dict) -> str:
    """A record with the members that the type requires."""
    members = {name: value_of(schema["properties"][name]) for name in schema.get("required", [])}
    return json.dumps({"resourceType": resource_type, "id": "example-1", **members}, indent=2)


def value_of(schema: dict):
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema or "anyOf" in schema:
        return value_of((schema.get("oneOf") or schema["anyOf"])[0])
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {name: value_of(schema["properties"][name]) for name in schema.get("required", [])}
    if kind == "array":
        return [value_of(schema.get("items", {}))]
    formats = {"fhir-date-time": "2026-01-15T09:15:00Z", "fhir-date": "2026-01-15", "fhir-time": "09:15"}
    texts = {"email": "jane@example.org", "uri": "https://example.org"} | formats
    return {"integer": 1, "number": 1, "boolean": True}.get(kind, texts.get(schema.get("format", ""), "text"))


def main() -> None:
    api = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    for path in api["paths"].values():
        for operation in path.values():
            operation["x-codeSamples"] = samples(operation["operationId"])
    records = []
    for name, schema in api["components"]["schemas"].items():
        if schema.get("$ref", "").startswith("shared/records/schemas/"):
            facts = json.loads((ROOT / schema["$ref"]).read_text())
            schema["$ref"] = "../" + schema["$ref"]
            shown = f"```json\n{example(name, facts)}\n```\n\n<SchemaDefinition schemaRef=\"#/components/schemas/{name}\" />"
            records.append({"name": name, "description": shown})
    api["tags"] += records
    api["x-tagGroups"] = [
        {"name": "Calls", "tags": ["Bulk", "Service"]},
        {"name": "Record types", "tags": [record["name"] for record in records]},
    ]
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(yaml.safe_dump(api, sort_keys=False, allow_unicode=True))
    print(f"{len(records)} record types, {len(SAMPLES)} operations with samples")


if __name__ == "__main__":
    main()
