"""Maps for the dirty tables of test-migration.py, as a migration engineer writes them."""

MAPS = {
    "Patient": """
encoding = "windows-1252"
nulls = ["n/a", "NULL", "-", "00/00/0000"]
[columns]
"PatNo"     = { to = "id", pad = 6, prefix = "mrn-" }
"Name"      = { split = ",", to = ["lastName", "firstName"] }
"DOB"       = { to = "birthDate", formats = ["%m/%d/%Y", "%Y-%m-%d", "%d-%b-%Y"] }
"Sex"       = { to = "gender", values = { M = "male", F = "female", "1" = "male", "2" = "female" }, otherwise = "unknown", ignoreCase = true }
"Mobile"    = "contact[0].phone"
"Phone"     = "phone"
"Town"      = "address.city"
"Insurance" = { drop = true }
[fields]
"contact[0].relationship" = "self"
"address.line[0]" = { join = ["Street", "No"], with = " " }
""",
    "Encounter": """
timezone = "America/New_York"
[columns]
"Visit"  = { to = "id", hash = true }
"MRN"    = { to = "patientId", pad = 6, prefix = "mrn-" }
"Kind"   = { to = "class", values = { OP = "AMB", IP = "IMP", ER = "EMER" } }
"Min"    = "lengthMinutes"
[fields]
"status" = "finished"
"period.start" = { join = ["Day", "Time"], with = " ", formats = ["%m/%d/%y %I:%M %p", "%m/%d/%y"], pivot = 30 }
""",
    "Observation": """
timezone = "Europe/Berlin"
decimal = ","
thousands = "."
[columns]
"Labornr" = { to = "id", prefix = "lab-" }
"PatNr"   = { to = "patientId", pad = 6, prefix = "mrn-" }
"Datum"   = { to = "effectiveDateTime", format = "%d.%m.%Y %H:%M" }
"Code"    = "code.code"
"Text"    = "code.display"
"Wert"    = [{ to = "valueQuantity.value", when = "number" }, { to = "valueString", when = "text" }]
"Einheit" = { to = "valueQuantity.unit", onlyWith = "valueQuantity.value" }
"Status"  = { to = "status", values = { F = "final", V = "preliminary", K = "corrected" } }
[fields]
"code.system" = "http://loinc.org"
""",
}
