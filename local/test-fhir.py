"""Has others judge whether the FHIR that is written is valid R4: random records of every type, hostile texts included;
and holds the lists of FHIR's names against HL7's schema.

    test-fhir.py install    what comes from npm
    test-fhir.py [COUNT]    judge COUNT records of each type (50)

The judges are `fhir.resources` (R4B), HL7's JSON schema, and `@medplum/core`, which knows FHIR's constraints. What a judge has wrong is
in NOT_IN_SCHEMA and MISTAKEN.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema_rs
import fhir.resources
from fhir.resources import STU3
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

import typescript

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "shared" / "fhir" / "src"
JUDGES = ROOT / "shared" / "fhir" / "judges"
SCHEMA = JUDGES / "node_modules" / "@asymmetrik" / "fhir-json-schema-validator" / "fhir.schema.json"

# Type and element: what FHIR has and HL7's schema has not.
NOT_IN_SCHEMA = {
    # https://hl7.org/fhir/R4/json.html#primitive: a list has `null` where an entry stands in `_purpose` alone.
    ("CoverageEligibilityRequest", "purpose"),
    ("CoverageEligibilityResponse", "purpose"),
    # A canonical URL is a primitive: what is said of a missing one stands in `_measure`.
    ("MeasureReport", "measure"),
}
# Type and constraint that Medplum's evaluation finds unmet: predictions without a probability, as HL7's own examples have them.
MISTAKEN = {("RiskAssessment", "ras-2")}


def install() -> None:
    typescript.install_node(typescript.NODES[0])
    lock = hashlib.sha256((JUDGES / "package-lock.json").read_bytes()).hexdigest()
    ready = JUDGES / "node_modules" / ".ready"
    if not ready.exists() or ready.read_text() != lock:
        command = ["npm", "ci", "--silent", "--no-fund", "--no-audit", "--ignore-scripts"]
        subprocess.run(command, cwd=JUDGES, env=typescript.environment(), check=True)
        ready.write_text(lock)


def by_model(resource: str, resource_type: str) -> Iterator[str]:
    try:
        get_fhir_model_class(resource_type).model_validate_json(resource)
    except ValidationError as error:
        for found in error.errors(include_input=False):
            yield f"fhir.resources: {'.'.join(map(str, found['loc']))}: {found['msg']}"


def by_medplum(resources: list[str]) -> Iterator[str]:
    command = ["node", "medplum.mjs"]
    done = subprocess.run(command, cwd=JUDGES, env=typescript.environment(), input="".join(f"{line}\n" for line in resources),
                          check=True, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        wrong = json.loads(line)
        if not any(wrong["resourceType"] == of and f"Constraint {name} " in wrong["message"] for of, name in MISTAKEN):
            yield f"{wrong['resourceType']}: Medplum: {wrong['path']}: {wrong['message']}"


class Schema:
    def __init__(self) -> None:
        self.whole = json.loads(SCHEMA.read_text())
        self.of_type: dict[str, jsonschema_rs.Validator] = {}

    def names(self) -> dict[str, set[str]]:
        """The names that R4 has, by the file that lists them."""
        definitions = self.whole["definitions"].values()
        elements = {name.removeprefix("_") for of in definitions for name in of.get("properties", ())}
        return {"elements.txt": elements, "resource-types.txt": set(self.whole["discriminator"]["mapping"])}

    def of_other_versions(self, types: list[str]) -> set[str]:
        """Elements of resources that STU3 or R5 has, and R4 has not."""
        def elements(get_class: Callable, resource_type: str) -> set[str]:
            try:
                return set(get_class(resource_type).elements_sequence())
            except (KeyError, ValueError):  # It has no such type.
                return set()

        lines = set()
        for of in types:
            known = elements(get_fhir_model_class, of) | set(self.whole["definitions"][of]["properties"])
            others = {"STU3": elements(STU3.get_fhir_model_class, of), "R5": elements(fhir.resources.get_fhir_model_class, of)}
            for name in set().union(*others.values()) - known:
                lines.add(f"{of} {name} {' or '.join(version for version in others if name in others[version])}")
        return lines

    def judge(self, resource: dict) -> Iterator[str]:
        resource_type = resource["resourceType"]
        if resource_type not in self.of_type:
            # `oneOf` all types would only say that none fits.
            of_one = {name: self.whole[name] for name in ("$schema", "definitions")}
            of_one["allOf"] = [{"$ref": f"#/definitions/{resource_type}"}]
            self.of_type[resource_type] = jsonschema_rs.validator_for(of_one)
        for error in self.of_type[resource_type].iter_errors(resource):
            path = [step for step in error.instance_path if isinstance(step, str)]
            # What an object lacks, or has too much of, is named by the message alone.
            named = path[:1] or [name for of, name in NOT_IN_SCHEMA if of == resource_type and name in error.message]
            if (resource_type, *named) not in NOT_IN_SCHEMA:
                yield f"HL7's schema: {'.'.join(path)}: {error.message}"


def main() -> None:
    if sys.argv[1:] == ["install"]:
        install()
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    command = ["cargo", "run", "--quiet", "--locked", "--package", "fhir", "--example", "resources", "--", str(count)]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")[:-1]
    schema, found, judged = Schema(), Counter(), Counter()
    types = list(json.loads((SOURCES / "table.json").read_text())["types"])
    for file, names in {**schema.names(), "other-versions.txt": schema.of_other_versions(types)}.items():
        if different := names.symmetric_difference((SOURCES / file).read_text().splitlines()):
            sys.exit(f"{file} is not what others have: {sorted(different)}")
    for line in lines:
        resource = json.loads(line)
        resource_type = resource["resourceType"]
        judged[resource_type] += 1
        for wrong in (*by_model(line, resource_type), *schema.judge(resource)):
            found[f"{resource_type}: {wrong}"] += 1
    found.update(by_medplum(lines))
    for wrong, times in found.most_common(50):
        print(f"{times} times: {wrong}", file=sys.stderr)
    if found or set(judged.values()) != {count}:
        sys.exit("the FHIR that is written is not valid")
    print(f"valid FHIR R4: {count} random records of each of {len(judged)} types")


if __name__ == "__main__":
    main()
