"""Writes target/api.html: openapi.yaml as a page, with calls in three languages and all record types.

One file that opens without a network: Redoc's program, and the description. What a page needs beyond openapi.yaml would
only be in the way of those who read it or generate from it.
"""

from __future__ import annotations

import json
import re
import subprocess
import tarfile
from pathlib import Path

import yaml
from typescript import NODES, environment, install_node

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "target" / "api.html"
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


def example(resource_type: str, schema: dict) -> str:
    """A record with the members that the type requires."""
    members = {name: value_of(schema["properties"][name], name) for name in schema.get("required", [])}
    return json.dumps({"resourceType": resource_type, "id": "example-1", **members}, indent=2)


def value_of(schema: dict, name: str = ""):
    if "enum" in schema:
        return schema["enum"][0]
    if "oneOf" in schema or "anyOf" in schema:
        return value_of((schema.get("oneOf") or schema["anyOf"])[0], name)
    kind = schema.get("type", "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        return {member: value_of(schema["properties"][member], member) for member in schema.get("required", [])}
    if kind == "array":
        return [value_of(schema.get("items", {}), name)]
    formats = {"fhir-date-time": "2026-01-15T09:15:00Z", "fhir-date": "2026-01-15", "fhir-time": "09:15"}
    texts = {"email": "jane@example.org", "uri": "https://example.org"} | formats
    names = {"firstName": "Jane", "lastName": "Doe"}
    text = f"{name.removesuffix('Id')}-1" if name.endswith("Id") else names.get(name, name)
    return {"integer": 1, "number": 1, "boolean": True}.get(kind, texts.get(schema.get("format", ""), text))


def described() -> dict:
    api = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    for path in api["paths"].values():
        for operation in path.values():
            operation["x-codeSamples"] = samples(operation["operationId"])
    records = []
    schemas = api["components"]["schemas"]
    shared = json.loads((ROOT / "shared" / "records" / "schemas" / "definitions.json").read_text())["$defs"]
    for name, schema in list(schemas.items()):
        if schema.get("$ref", "").startswith("shared/records/schemas/"):
            facts = json.loads((ROOT / schema["$ref"]).read_text())
            schemas[name] = {key: value for key, value in facts.items() if not key.startswith("$")}
            shown = f"```json\n{example(name, facts)}\n```\n\n<SchemaDefinition schemaRef=\"#/components/schemas/{name}\" />"
            records.append({"name": name, "description": shown})
    api["tags"] += records
    api["x-tagGroups"] = [
        {"name": "Calls", "tags": ["Bulk", "Service"]},
        {"name": "Record types", "tags": [record["name"] for record in records]},
    ]
    schemas |= shared
    print(f"{len(records)} record types, {len(SAMPLES)} operations with samples")
    return json.loads(re.sub(r'"(?:definitions\.json)?#/\$defs/', '"#/components/schemas/', json.dumps(api)))


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
    # Within a script element nothing may look like its end.
    inline = lambda text: text.replace("</script", "<\\/script")  # noqa: E731
    page = PAGE.format(program=inline(redoc()), description=inline(json.dumps(described())), options=json.dumps(OPTIONS))
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page)


if __name__ == "__main__":
    main()
