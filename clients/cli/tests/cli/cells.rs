//! What a map makes of cells.

use crate::maps::{hashed, stored};

use serde_json::{Value, json};

use crate::{Bench, run};

/// What `convert` prints of a file, each record as JSON.
#[track_caller]
fn converted(resource_type: &str, map: &str, file: &str) -> Vec<Value> {
    let bench = Bench::new();
    bench.write("map.toml", map);
    bench.write("f.csv", file);
    let said = bench.run(&["convert", resource_type, "f.csv", "--map", "map.toml"]);
    said.ends(0).out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn numbers_are_read_as_the_file_writes_them_and_units_go_with_them() {
    let map = r#"
decimal = ","
thousands = "."
[columns]
"Wert"    = [{ to = "valueQuantity.value", when = "number" }, { to = "valueString", when = "text" }]
"Einheit" = { to = "valueQuantity.unit", onlyWith = "valueQuantity.value" }
"Nr"      = { to = "patientId", pad = 5, prefix = "p-" }
[fields]
"status" = "final"
"code" = "x"
"#;
    let records = converted("Observation", map, "Wert;Einheit;Nr\n5,4;mmol;28\n1.234,5;mg;A1\n<5;mg;123456\n");
    assert_eq!(records[0]["valueQuantity"], json!({"value": 5.4, "unit": "mmol"}));
    assert_eq!((&records[0]["patientId"], &records[1]["patientId"]), (&json!("p-00028"), &json!("p-A1")));
    assert_eq!(records[1]["valueQuantity"], json!({"value": 1234.5, "unit": "mg"}));
    assert_eq!((&records[2]["valueString"], records[2].get("valueQuantity")), (&json!("<5"), None));
    // A value that the map names is written as a map writes, and a point that is neither is of another notation.
    let rest = "[fields]\nstatus = \"final\"\ncode = \"x\"\npatientId = \"p\"\n";
    let stages =
        "decimal = \",\"\n[columns]\nA = { to = \"valueQuantity.value\", values = { low = 1.125, high = 2.5 } }\n";
    let records = converted("Observation", &format!("{stages}{rest}"), "A\nlow\nhigh\n");
    assert_eq!(
        (&records[0]["valueQuantity"]["value"], &records[1]["valueQuantity"]["value"]),
        (&json!(1.125), &json!(2.5))
    );
    let bench = Bench::new();
    bench.write("map.toml", format!("decimal = \",\"\n[columns]\nA = \"valueQuantity.value\"\n{rest}"));
    bench.write("f.csv", "A\n1.500\n");
    let validate = ["validate", "Observation", "f.csv", "--map", "map.toml"];
    assert!(bench.run(&validate).ends(3).out.contains("Must be a number"));
    bench.write("map.toml", "thousands = \".\"\n");
    bench.write("f.csv", "status,code,patientId,valueQuantity.value\nfinal,x,p,1.500\n");
    bench.run(&validate).ends(2).says("decimal and thousands are the same");
    // Without them, what looks like a number is told.
    let bench = Bench::new();
    bench.write("map.toml", map.replace("decimal = \",\"\nthousands = \".\"\n", ""));
    bench.write("f.csv", "Wert;Einheit;Nr\n5,4;mmol;1\n<5;;2\n");
    let said = bench.run(&["validate", "Observation", "f.csv", "--map", "map.toml"]);
    said.ends(0).says("Observation valueString: 1 texts that look like numbers");
}

#[test]
fn several_columns_make_one_value_as_the_map_says() {
    let map = r#"
nulls = ["n/a", "NULL"]
[columns]
"Name"   = { split = "/", to = ["lastName", "firstName"] }
"Sex"    = { to = "gender", values = { M = "male", "" = "unknown" } }
[fields]
"phone"          = { firstOf = ["Home", "Cell"] }
"birthDate"      = { join = ["Y", "M", "D"], with = "-", all = true }
"maritalStatus"  = "n/a"
"id"             = { join = ["Name", "email"], with = "|", hash = true }
"#;
    let file = "Name,Sex,Home,Cell,Y,M,D,email\nDoe/Jane,M,n/a,2,1990,01,15,a@b.org\nRoe/Max,NULL,1,2,1990,,15,\n";
    let records = converted("Patient", map, file);
    assert_eq!((&records[0]["phone"], &records[1]["phone"]), (&json!("2"), &json!("1")));
    assert_eq!((&records[0]["birthDate"], records[1].get("birthDate")), (&json!("1990-01-15"), None));
    assert_eq!((&records[0]["gender"], &records[1]["gender"]), (&json!("male"), &json!("unknown")));
    // The map's own value is one, and a column that has a field's name fills it beside the join.
    assert_eq!((&records[0]["maritalStatus"], &records[0]["email"]), (&json!("n/a"), &json!("a@b.org")));
    assert_eq!(records[0]["id"], json!(hashed("Doe/Jane|a@b.org")));
    let bench = Bench::new();
    bench.write(
        "map.toml",
        "nulls = [\"n/a\"]\n[columns]\nName = { split = \"/\", to = [\"lastName\", \"firstName\"] }\n",
    );
    bench.write("p.csv", "Name\nn/a\n");
    let said = bench.run(&["validate", "Patient", "p.csv", "--map", "map.toml"]);
    assert!(said.ends(3).out.contains("firstName: Required"), "n/a is not cut: {}", said.out);
}

#[test]
fn files_of_one_type_have_maps_of_their_own_and_an_encoding_each() {
    let bench = Bench::new();
    let old = "type = \"Patient\"\nfiles = [\"old.csv\"]\nencoding = \"windows-1252\"\nskip = 2\n[columns]\nVor = \"firstName\"\nNach = \"lastName\"\nNr = \"id\"\n";
    bench.write("maps/old.toml", old);
    bench.write("maps/new.toml", "type = \"Patient\"\n[columns]\nFirst = \"firstName\"\nLast = \"lastName\"\n");
    bench.write("old.csv", b"Patient list\n\nNr;Vor;Nach\n1;J\xfcrgen;M\xfcller\n2;A;B\n".as_slice());
    bench.write("new.csv", "id,First,Last\n1,Zo\u{eb},Ren\u{e9}e\n3,C,D\n");
    let said = bench.import(&["Patient", "old.csv", "new.csv", "--map", "maps"]);
    said.ends(3).says("4 read = 3 stored + 1 rejected");
    let found = stored(&bench);
    let name = |id: &str| found[&("Patient".to_owned(), id.to_owned())]["firstName"].clone();
    assert_eq!((name("1"), name("3")), (json!("Jürgen"), json!("C")));
    let said = bench.run(&["validate", "Patient", "new.csv", "--encoding", "windows-1252"]);
    said.ends(2).says("it is UTF-8, and read as windows-1252");
    bench.write("title.csv", "Patient list of 2023\nfirstName,lastName,phone\nA,B,1\n");
    bench.run(&["validate", "Patient", "title.csv"]).ends(2).says("add skip = 1");
    bench.write("none.csv", "Jane,Doe,1990-01-15\nMax,Roe,1985-12-31\n");
    for command in ["validate", "map"] {
        let said = bench.run(&[command, "Patient", "none.csv"]);
        said.ends(2).says("column 3 of the first line looks like data");
        assert!(!said.err.contains("Jane") && !said.err.contains("1990"), "{}", said.err);
    }
}

/// One file of several may have no number, and a map for any type may be for another one.
#[test]
fn a_setting_does_something_if_it_does_in_any_file() {
    let bench = Bench::new();
    let head = "status,code,patientId";
    bench.write("a.csv", format!("{head},valueQuantity.value\nfinal,x,p,\"1,5\"\n"));
    bench.write("b.csv", format!("{head},valueString\nfinal,x,p,y\n"));
    bench.write("map.toml", "type = \"Observation\"\ndecimal = \",\"\n");
    bench.run(&["validate", "Observation", "a.csv", "b.csv", "--map", "map.toml"]).ends(0);
    bench.run(&["validate", "Observation", "b.csv", "--map", "map.toml"]).ends(2).says("have no effect");
    bench.write("any.toml", "decimal = \",\"\n");
    bench.run(&["validate", "Observation", "b.csv", "--map", "any.toml"]).ends(0);
}

#[test]
fn what_may_be_a_record_of_several_rows_or_a_header_is_told() {
    let bench = Bench::new();
    bench.write(
        "p.csv",
        "id,phone,lastName,firstName\n1,\"ext 5,D,J\n2,6\",E,K\n3,7,F,L\nid,phone,lastName,firstName\n",
    );
    let said = bench.run(&["validate", "Patient", "p.csv"]);
    assert_eq!(said.ends(3).out, "p.csv:5: The row is the header once more [header_row]\n");
    said.says("Patient quoted cells: 1 go over lines and hold as many delimiters as a row");
}

#[test]
fn a_draft_gives_no_other_persons_name_to_a_patient() {
    let bench = Bench::new();
    let file = "ID;Name;Mother Name;Home Phone;Doctor Email;Status;Note\n1;Doe, Jane;Ann;1;d@x.org;deceased;n/a\n2;Roe, Max;Eve;2;e@x.org;;NULL\n";
    bench.write("p.csv", file);
    let map = bench.run(&["map", "Patient", "p.csv"]).ends(0).out.clone();
    for line in ["\"ID\" = \"id\"", "\"Name\" = { split = \",\", to = [\"lastName\", \"firstName\"] }"] {
        assert!(map.lines().any(|found| found.starts_with(line)), "{line}:\n{map}");
    }
    for header in ["Mother Name", "Home Phone", "Doctor Email", "Status"] {
        assert!(map.lines().any(|line| line.starts_with("# ") && line.contains(header)), "{header}:\n{map}");
    }
    let mut stdin = bench.command(&["convert", "Patient", "-", "--limit", "1"]);
    stdin.write_stdin("{\"firstName\":\"A\",\"lastName\":\"B\"}\n{\"firstName\":\"C\",\"lastName\":\"D\"}\n");
    assert_eq!(run(stdin).ends(0).out, "{\"firstName\":\"A\",\"lastName\":\"B\"}\n");
}
