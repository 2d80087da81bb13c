"""Migrates what old systems export, by the command line and maps alone, and compares what is stored with what another
converter makes of the same files, member by member.

    test-migration.py [TIMES]   on the running service (API_URL, CLINIK_BULK and the like, as `stack.py exec` sets them);
                                TIMES as many rows as by default; SEED=… for other ones

Three dirty tables (patients, visits, results) are imported as one folder with a map for each, and Synthea's five with the map of
the documents. The other converter is below: it reads the files with Python's own csv, datetime and zoneinfo, and shares nothing
with the command line. What is wrong with a row it finds by itself, too.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from clinic import Clinic
from migration_maps import MAPS

ROOT = Path(__file__).resolve().parent.parent
PATIENTS, VISITS, RESULTS, SYNTHEA = 300, 600, 1_000, 100
NULLS = {"", "n/a", "NULL", "-", "00/00/0000"}
NEW_YORK, BERLIN = ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")


def key(number: int, kind: int) -> str:
    return str(uuid.UUID(int=kind << 96 | 4 << 76 | 8 << 60 | number))


def hashed(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))


# The files.


def table(rows: list[list[str]], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


def patients(dice: random.Random, count: int) -> str:
    rows = [["PatNo", "Name", "DOB", "Sex", "Phone", "Mobile", "Street", "No", "Town", "Insurance"]]
    for number in range(count):
        born = datetime(1925, 1, 1) + timedelta(days=dice.randrange(36_000))
        written = dice.choice([f"{born.month}/{born.day}/{born.year}", f"{born:%Y-%m-%d}", f"{born:%d-%b-%Y}", "00/00/0000"])
        if dice.random() < 0.01:
            written = dice.choice(["31/31/1990", "1/15/90", "soon", "2023-02-29"])
        name = dice.choice([f"Doe{number}, Jane", f"Müller{number}, José \"Pepe\"", f" O'Neil{number} ,Ann"])
        if dice.random() < 0.01:
            name = dice.choice(["Single", ", Jane", "a, b, c"])
        row = [str(number), name, written, dice.choice(["M", " f ", "1", "2", "X", "NULL", "m"]),
               dice.choice(["n/a", f"0156 {number}", ""]), dice.choice(["-", f"+1 555 {number:07}"]),
               dice.choice(["High Street", "Rue de l'Été", "Alley\nrear", ""]), dice.choice(["", str(number % 90)]),
               dice.choice([" Köln ", "Springfield", "n/a"]), "legacy; data"]
        if dice.random() < 0.005:
            row = row[:5]
        if dice.random() < 0.01:
            row[0] = str(dice.randrange(max(number, 1)))
        rows.append(row)
    return table(rows, ";")


def visits(dice: random.Random, count: int) -> str:
    rows = [["Visit", "MRN", "Kind", "Day", "Time", "Min"]]
    for number in range(count):
        day = datetime(1935, 1, 1) + timedelta(minutes=dice.randrange(47_000_000))
        time = dice.choice(["", f"{day:%I:%M %p}"])
        written = f"{day.month}/{day.day}/{day:%y}"
        if dice.random() < 0.02:
            # The clocks change: 2:30 is skipped in spring, and 1:30 comes twice in autumn.
            written, time = dice.choice([("3/10/24", "2:30 AM"), ("11/3/24", "1:30 AM"), ("2/30/24", "")])
        minutes = "15,5" if dice.random() < 0.01 else str(number % 240)
        rows.append([f"V{number}", str(dice.randrange(PATIENTS)), dice.choice(["OP", "IP", "ER", "OP"]), written, time, minutes])
        if dice.random() < 0.01:
            rows[-1][2] = "??"
    return table(rows, ",")


def results(dice: random.Random, count: int) -> str:
    rows = [["Labornr", "PatNr", "Datum", "Code", "Text", "Wert", "Einheit", "Status"]]
    for number in range(count):
        day = datetime(2001, 1, 1) + timedelta(minutes=dice.randrange(12_000_000))
        value = dice.choice(["5,4", "1.234,5", "12.345.678", "-3", "0,05", "<0,5", "negativ", "12.34,5", "007", "", "+++"])
        rows.append([f"{number:08}", str(dice.randrange(PATIENTS + 3)), f"{day:%d.%m.%Y %H:%M}", f"{number % 50}-1",
                     dice.choice(["Glucose", "Natrium; Serum", 'the "other" one']), value, dice.choice(["mmol/l", "mg", ""]),
                     dice.choice("FFFVK")])
        if dice.random() < 0.01:
            rows[-1][7] = "X"
        if dice.random() < 0.01:
            rows[-1][2] = dice.choice(["31.02.2024 10:00", "31.03.2024 02:30", "27.10.2024 02:30", "2024-01-15"])
        if dice.random() < 0.005:
            rows[-1][0] = f"{dice.randrange(max(number, 1)):08}"
    return table(rows, ";")


def synthea(dice: random.Random, count: int) -> dict[str, str]:
    moment = lambda: f"{datetime(1990, 1, 1) + timedelta(seconds=dice.randrange(10**9)):%Y-%m-%dT%H:%M:%SZ}"  # noqa: E731
    people, stays, values, problems, drugs = [], [], [], [], []
    for number in range(count):
        patient, stay = key(number, 0xA), key(number, 0xB)
        people.append([patient, f"{dice.randrange(1920, 2020)}-0{dice.randrange(1, 10)}-1{dice.randrange(10)}", "", f"999-10-{number % 10_000:04}",
                       "S9", "", "Mr.", f"Abe{number}", "M", f"O'Hara, {number}", "", "", dice.choice(["", "S", "M"]), "white",
                       "nonhispanic", dice.choice("MF"), "Boston", f"{number} High Way", "Boston", "Massachusetts", "Suffolk",
                       "25025", f"0{number % 10_000:04}", "42.3", "-71.0", "1.5", "2.5", "3"])
        start, stop = moment(), moment()
        stays.append([stay, start, stop, patient, key(1, 0xC), key(number % 3, 0xD), key(1, 0xE), "ambulatory", "185345009",
                      "Encounter for symptom", "85.55", "123.4", "0.00", "", dice.choice(["", "Acute bronchitis (disorder)"])])
        values.append([start, patient, stay, "vital-signs", "8302-2", "Body Height", f"{dice.randrange(1000, 2000) / 10}", "cm", "numeric"])
        values.append([start, patient, stay, "survey", "72166-2", "Tobacco smoking status", "Never smoked", "{nominal}", "text"])
        problems.append([start[:10], dice.choice(["", stop[:10]]), patient, stay, "SNOMED-CT", "10509002", "Acute bronchitis (disorder)"])
        drugs.append([start, dice.choice(["", stop]), patient, key(1, 0xE), stay, "313782", "Acetaminophen 325 MG", "5.5", "0.0", "1", "5.5",
                      "10509002", dice.choice(["", "Acute bronchitis (disorder)"])])
    heads = {
        "patients": "Id,BIRTHDATE,DEATHDATE,SSN,DRIVERS,PASSPORT,PREFIX,FIRST,MIDDLE,LAST,SUFFIX,MAIDEN,MARITAL,RACE,ETHNICITY,GENDER,"
        "BIRTHPLACE,ADDRESS,CITY,STATE,COUNTY,FIPS,ZIP,LAT,LON,HEALTHCARE_EXPENSES,HEALTHCARE_COVERAGE,INCOME",
        "encounters": "Id,START,STOP,PATIENT,ORGANIZATION,PROVIDER,PAYER,ENCOUNTERCLASS,CODE,DESCRIPTION,BASE_ENCOUNTER_COST,"
        "TOTAL_CLAIM_COST,PAYER_COVERAGE,REASONCODE,REASONDESCRIPTION",
        "observations": "DATE,PATIENT,ENCOUNTER,CATEGORY,CODE,DESCRIPTION,VALUE,UNITS,TYPE",
        "conditions": "START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION",
        "medications": "START,STOP,PATIENT,PAYER,ENCOUNTER,CODE,DESCRIPTION,BASE_COST,PAYER_COVERAGE,DISPENSES,TOTALCOST,REASONCODE,"
        "REASONDESCRIPTION",
    }
    rows = {"patients": people, "encounters": stays, "observations": values, "conditions": problems, "medications": drugs}
    return {name: table([head.split(","), *rows[name]], ",") for name, head in heads.items()}


# The other converter.


class Wrong(Exception):
    """The row is no record."""


@dataclass
class Expected:
    """What must be stored, by id, and the lines of rows that are rejected."""

    records: dict[str, dict] = field(default_factory=dict)
    rejected: set[int] = field(default_factory=set)

    def add(self, line: int, record: dict) -> None:
        if record["id"] in self.records:
            raise Wrong
        self.records[record["id"]] = record


def rows(text: str, delimiter: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """Each row with the line on which it begins, and the header."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = next(reader)
    before = reader.line_num
    for row in reader:
        yield before + 1, header, row
        before = reader.line_num


def convert(text: str, delimiter: str, record_of) -> Expected:  # noqa: ANN001
    expected = Expected()
    for line, header, row in rows(text, delimiter):
        try:
            if len(row) != len(header):
                raise Wrong
            expected.add(line, pruned(record_of(dict(zip(header, row, strict=True)))))
        except Wrong:
            expected.rejected.add(line)
    return expected


def pruned(value: dict) -> dict:
    """Without members that have no value."""
    value = {name: pruned(member) if isinstance(member, dict) else member for name, member in value.items()}
    return {name: member for name, member in value.items() if member not in (None, "", {}, [])}


def cell(text: str) -> str:
    text = text.strip()
    return "" if text in NULLS else text


def day(text: str, formats: dict[str, str]) -> datetime:
    for pattern, form in formats.items():
        if re.fullmatch(pattern, text):
            try:
                return datetime.strptime(text, form)
            except ValueError:
                continue
    raise Wrong


def local(moment: datetime, zone: ZoneInfo) -> str:
    first, second = moment.replace(tzinfo=zone, fold=0), moment.replace(tzinfo=zone, fold=1)
    # It comes twice, or never: then the two differ.
    if first.utcoffset() != second.utcoffset():
        raise Wrong
    return first.isoformat()


# What a text looks like, and how it is then read.
BIRTHS = {r"\d{1,2}/\d{1,2}/\d{4}": "%m/%d/%Y", r"\d{4}-\d{1,2}-\d{1,2}": "%Y-%m-%d", r"\d{1,2}-[A-Za-z]{3}-\d{4}": "%d-%b-%Y"}
VISITED = {r"\d+/\d+/\d{4}": "%m/%d/%Y", r"\d+/\d+/\d{4} \d+:\d\d [AP]M": "%m/%d/%Y %I:%M %p"}
MEASURED = {r"\d\d\.\d\d\.\d{4} \d\d:\d\d": "%d.%m.%Y %H:%M"}


def patient(row: dict[str, str]) -> dict:
    names = row["Name"].split(",")
    if len(names) != 2 or not all(name.strip() for name in names):
        raise Wrong
    born = cell(row["DOB"])
    if born:
        born = f"{day(born, BIRTHS):%Y-%m-%d}"
    sexes = {"m": "male", "f": "female", "1": "male", "2": "female", "": ""}
    mobile = cell(row["Mobile"])
    street = " ".join(part for part in (cell(row["Street"]), cell(row["No"])) if part)
    return {
        "id": f"mrn-{int(row['PatNo']):06}", "lastName": names[0].strip(), "firstName": names[1].strip(), "birthDate": born,
        "gender": sexes.get(cell(row["Sex"]).lower(), "unknown"), "phone": cell(row["Phone"]),
        "contact": [{"phone": mobile, "relationship": "self"}] if mobile else None,
        "address": {"city": cell(row["Town"]), "line": [street] if street else None},
    }


def visit(row: dict[str, str]) -> dict:
    kinds = {"OP": "AMB", "IP": "IMP", "ER": "EMER"}
    if row["Kind"] not in kinds or not row["Min"].isdigit():
        raise Wrong
    year = int(row["Day"][-2:])
    written = f"{row['Day'][:-2]}{1900 + year if year >= 30 else 2000 + year}"
    moment = day(f"{written} {row['Time']}".strip(), VISITED)
    start = local(moment, NEW_YORK) if row["Time"] else f"{moment:%Y-%m-%d}"
    return {"id": hashed(row["Visit"]), "patientId": f"mrn-{int(row['MRN']):06}", "class": kinds[row["Kind"]], "status": "finished",
            "lengthMinutes": Decimal(row["Min"]), "period": {"start": start}}


def result(row: dict[str, str]) -> dict:
    states = {"F": "final", "V": "preliminary", "K": "corrected"}
    if row["Status"] not in states:
        raise Wrong
    moment = local(day(row["Datum"], MEASURED), BERLIN)
    value = row["Wert"].strip()
    is_number = re.fullmatch(r"-?(0|[1-9]\d*|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?", value)
    quantity = {"value": Decimal(value.replace(".", "").replace(",", ".")), "unit": row["Einheit"]} if is_number else None
    return {"id": f"lab-{row['Labornr']}", "patientId": f"mrn-{int(row['PatNr']):06}", "effectiveDateTime": moment,
            "code": {"code": row["Code"], "display": row["Text"], "system": "http://loinc.org"}, "status": states[row["Status"]],
            "valueQuantity": quantity, "valueString": None if is_number else value}


def of_synthea(resource_type: str, row: dict[str, str]) -> dict:
    def hash_of(*columns: str) -> str:
        return hashed("-".join(row[column] for column in columns))

    match resource_type:
        case "Patient":
            return {"id": row["Id"], "birthDate": row["BIRTHDATE"], "firstName": row["FIRST"], "lastName": row["LAST"],
                    "gender": {"M": "male", "F": "female"}[row["GENDER"]], "maritalStatus": row["MARITAL"],
                    "address": {"line": [row["ADDRESS"]], "city": row["CITY"], "state": row["STATE"], "postalCode": row["ZIP"]}}
        case "Encounter":
            return {"id": row["Id"], "period": {"start": row["START"], "end": row["STOP"]}, "patientId": row["PATIENT"],
                    "serviceProvider": row["ORGANIZATION"], "practitionerId": row["PROVIDER"], "class": row["ENCOUNTERCLASS"],
                    "type": row["DESCRIPTION"], "reasonCode": row["REASONDESCRIPTION"], "status": "finished"}
        case "Observation":
            is_number = row["TYPE"] == "numeric"
            return {"id": hash_of("PATIENT", "ENCOUNTER", "DATE", "CODE"), "effectiveDateTime": row["DATE"], "patientId": row["PATIENT"],
                    "encounterId": row["ENCOUNTER"], "category": row["CATEGORY"], "status": "final",
                    "code": {"system": "http://loinc.org", "code": row["CODE"], "display": row["DESCRIPTION"]},
                    "valueQuantity": {"value": Decimal(row["VALUE"]), "unit": row["UNITS"]} if is_number else None,
                    "valueString": None if is_number else row["VALUE"]}
        case "Condition":
            return {"id": hash_of("PATIENT", "ENCOUNTER", "START", "CODE"), "onsetDateTime": row["START"], "abatementDateTime": row["STOP"],
                    "clinicalStatus": "resolved" if row["STOP"] else "active", "verificationStatus": "confirmed",
                    "patientId": row["PATIENT"], "encounterId": row["ENCOUNTER"],
                    "code": {"system": "http://snomed.info/sct", "code": row["CODE"], "display": row["DESCRIPTION"]}}
        case _:
            return {"id": hash_of("PATIENT", "ENCOUNTER", "START", "CODE"), "authoredOn": row["START"],
                    "status": "completed" if row["STOP"] else "active", "patientId": row["PATIENT"], "encounterId": row["ENCOUNTER"],
                    "medication": {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": row["CODE"], "display": row["DESCRIPTION"]},
                    "reason": row["REASONDESCRIPTION"], "prescriberId": "unknown"}


# The run.


def stored(clinic: Clinic, types: list[str]) -> dict[str, dict[str, dict]]:
    clinic.run("export", ",".join(types), "--per-type", "--gzip", "--out", "out", "--quiet")
    found: dict[str, dict[str, dict]] = {name: {} for name in types}
    for file in clinic.folder.glob("out/*/*.ndjson.gz"):
        for line in gzip.open(file, "rt", encoding="utf-8"):
            record = json.loads(line, parse_float=Decimal, parse_int=Decimal)
            name, _ = record.pop("resourceType"), record.pop("meta")
            found[name][record["id"]] = record
    return found


def compare(found: dict[str, dict[str, dict]], expected: dict[str, dict[str, dict]]) -> int:
    for name, records in expected.items():
        for number, record in records.items():
            if found[name].get(number) != record:
                raise SystemExit(f"{name}/{number} is stored as {found[name].get(number)}, and should be {record}")
        if unknown := found[name].keys() - records.keys():
            raise SystemExit(f"{name}: {len(unknown)} records that nobody expects, as {min(unknown)}")
    return sum(map(len, expected.values()))


def dirty(clinic: Clinic, dice: random.Random, times: int) -> dict[str, dict[str, dict]]:
    texts = {"Patient": patients(dice, PATIENTS * times), "Encounter": visits(dice, VISITS * times), "Observation": results(dice, RESULTS * times)}
    clinic.write("data/Patient.csv", texts["Patient"].encode("windows-1252"))
    clinic.write("data/Encounter.csv", texts["Encounter"].encode())
    clinic.write("data/Observation.csv.gz", gzip.compress(texts["Observation"].encode()))
    for name, text in MAPS.items():
        clinic.write(f"maps/{name}.toml", f'type = "{name}"\n{text}'.encode())
    expected = {
        "Patient": convert(texts["Patient"], ";", patient),
        "Encounter": convert(texts["Encounter"], ",", visit),
        "Observation": convert(texts["Observation"], ";", result),
    }
    rejected = {f"{name}:{line}" for name, of in expected.items() for line in of.rejected}
    if min(len(of.rejected) for of in expected.values()) == 0:
        raise SystemExit("the dirty tables are clean")

    events = [json.loads(line) for line in clinic.run("validate", "data", "--map", "maps", "--references", "--output", "ndjson", code=3).splitlines()]
    errors = [event for event in events if event["event"] == "error"]
    place = lambda error: f"{Path(error['file']).name.split('.')[0]}:{error['line']}"  # noqa: E731
    told = {place(error) for error in errors if error["code"] != "unknown_reference"}
    if told != rejected:
        raise SystemExit(f"rejected by one alone: {sorted(told ^ rejected)[:10]}")
    referred = {record["patientId"] for name in ("Encounter", "Observation") for record in expected[name].records.values()}
    missing = referred - expected["Patient"].records.keys()
    if (found := sum(error["code"] == "unknown_reference" for error in errors)) != len(missing):
        raise SystemExit(f"{found} missing references are told, and there are {len(missing)}")

    clinic.run("import", "data", "--map", "maps", "--state", "dirty", "--quiet", code=3)
    summary = json.loads((clinic.folder / "dirty/summary.json").read_text())
    count = sum(len(of.records) for of in expected.values())
    figures = (summary["stored"], summary["rejected"], summary["finished"])
    if figures != (count, len(rejected), True):
        raise SystemExit(f"the summary says {figures}, and {count} records are valid and {len(rejected)} are not")
    rows_back = [len(list(rows(file.read_text(encoding="utf-8-sig"), ","))) for file in clinic.folder.glob("dirty/rejected-rows/*")]
    if len(rows_back) != len(expected):
        raise SystemExit(f"rejected rows of {len(rows_back)} tables")
    return {name: of.records for name, of in expected.items()}


def of_synthea_files(clinic: Clinic, dice: random.Random, times: int) -> dict[str, dict[str, dict]]:
    types = {"patients": "Patient", "encounters": "Encounter", "observations": "Observation", "conditions": "Condition",
             "medications": "MedicationRequest"}
    expected = {}
    for name, text in synthea(dice, SYNTHEA * times).items():
        resource_type = types[name]
        clinic.write(f"{name}.csv", text.encode())
        of = convert(text, ",", lambda row, of=resource_type: of_synthea(of, row))
        clinic.run("import", resource_type, f"{name}.csv", "--map", str(ROOT / "docs/maps/synthea.toml"), "--state", name, "--quiet",
                   code=3 if of.rejected else 0)
        expected[resource_type] = of.records
    return expected


def main() -> None:
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    seed = int(os.environ.get("SEED", "7"))
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        clinic = Clinic(Path(folder))
        expected: dict[str, dict[str, dict]] = {}
        for part in (dirty(clinic, dice, times), of_synthea_files(clinic, dice, times)):
            for name, records in part.items():
                expected.setdefault(name, {}).update(records)
        count = compare(stored(clinic, sorted(expected)), expected)
    print(f"migrations: {count} records of eight tables are stored as another converter makes them (SEED={seed})")


if __name__ == "__main__":
    main()
