//! CSV and TSV as people have them.

use crate::{Bench, Said, bare, run};

/// Validates a file offline.
fn validate(bench: &Bench, file: &str, more: &[&str]) -> Said {
    run(bare(bench.folder.path(), &[&["validate", "Patient", file], more].concat()))
}

/// Imports a file, and returns the stored patients.
fn import(bench: &Bench, file: &str, more: &[&str]) -> Vec<String> {
    bench.import(&[&["Patient", file], more].concat()).ends(0);
    bench.stub.state().records.values().map(|(line, _)| line.clone()).collect()
}

fn checked(content: impl AsRef<[u8]>, more: &[&str]) -> Said {
    let bench = Bench::new();
    bench.write("p.csv", content);
    let said = validate(&bench, "p.csv", more);
    assert_eq!(bench.stub.state().requests.len(), 0, "nothing leaves the machine");
    said
}

#[test]
fn a_byte_order_mark_and_crlf_and_blank_lines_do_not_disturb() {
    let content = "\u{feff}firstName,lastName\r\nA,B\r\n\r\nC,\r\n";
    let said = checked(content, &[]);
    assert!(said.ends(3).out.starts_with("p.csv:4: column \"lastName\": lastName: Required"), "{}", said.out);
    said.says("2 records: 1 valid, 1 invalid");
}

#[test]
fn semicolons_tabs_and_a_named_separator_are_found() {
    checked("firstName;lastName\nA, x;B\n", &[]).ends(0).says("1 records: 1 valid");
    checked("sep=;\nfirstName;lastName\nA;B\n", &[]).ends(0);
    checked("firstName\tlastName\nA,1\tB\n", &["--format", "tsv"]).ends(0);
    checked("firstName|lastName\nA|B\n", &[]).ends(0);
}

#[test]
fn quotes_hold_delimiters_breaks_and_quotes() {
    let bench = Bench::new();
    bench.write("p.csv", "id,firstName,lastName\n1,\"A, \"\"the\"\"\",\"line one\nline two\"\n2,B\"x,C\n");
    let records = import(&bench, "p.csv", &[]);
    assert!(
        records[0].contains(r#""firstName":"A, \"the\"""#) && records[0].contains(r"line one\nline two"),
        "{records:?}"
    );
    assert!(records[1].contains(r#""firstName":"B\"x""#));
}

#[test]
fn windows_1252_is_read_when_said_and_explained_when_not() {
    let bytes = b"firstName,lastName\nJos\xe9,M\xfcller\n";
    let said = checked(bytes, &[]);
    said.ends(2).says("line 2, column \"firstName\"").says("--encoding windows-1252");
    assert!(!said.err.contains("Jos"));
    let bench = Bench::new();
    bench.write("p.csv", bytes);
    let records = import(&bench, "p.csv", &["--encoding", "windows-1252"]);
    assert!(records[0].contains("José") && records[0].contains("Müller"));
    checked(bytes, &["--encoding", "nonsense"]).ends(2).says("unknown encoding");
}

#[test]
fn empty_cells_are_absent_and_empty_rows_are_no_records() {
    let bench = Bench::new();
    bench
        .write("p.csv", "firstName,lastName,email,address.city,contact[0].phone,contact[1].phone\nA,B,,,,123\n,,,,,\n");
    let records = import(&bench, "p.csv", &[]);
    assert_eq!(records.len(), 1);
    assert!(records[0].ends_with(r#""firstName":"A","lastName":"B","contact":[{"phone":"123"}]}"#), "{}", records[0]);
    assert_eq!(bench.read_json("state/summary.json")["files"][0]["blankRows"], 1);
}

#[test]
fn leading_zeros_stay_and_numbers_and_booleans_come_from_the_schema() {
    let bench = Bench::new();
    bench.write("p.csv", "firstName,lastName,phone,address.postalCode,languages[0].language,languages[0].preferred\n1,2,007,01569,de,TRUE\n");
    let records = import(&bench, "p.csv", &[]);
    assert!(records[0].contains(r#""phone":"007""#) && records[0].contains(r#""postalCode":"01569""#));
    assert!(records[0].contains(r#""preferred":true"#) && records[0].contains(r#""firstName":"1""#));
    let said = checked("firstName,lastName,languages[0].language,languages[0].preferred\nA,B,de,maybe\n", &[]);
    assert!(
        said.ends(3)
            .out
            .contains("column \"languages[0].preferred\": languages[0].preferred: Must be true or false; a map's values say what other texts stand for [type]")
    );
    assert!(!said.out.contains("maybe"));
}

const MAP: &str = r#"
type = "Patient"
[columns]
"MRN"   = { to = "id", prefix = "mrn-" }
"First" = { to = "firstName" }
"Last"  = { to = "lastName" }
"DOB"   = { to = "birthDate", format = "%m/%d/%Y" }
"Sex"   = { to = "gender", values = { M = "male", F = "female", U = "unknown" } }
"Chart" = { drop = true }
"#;

#[test]
fn american_dates_and_codes_are_translated_by_a_map() {
    let bench = Bench::new();
    bench.write("map.toml", MAP);
    bench.write("p.csv", "Sex,DOB,Chart,Last,First,MRN\nF,1/31/1990,x,Doe,Jane,0042\n");
    let records = import(&bench, "p.csv", &["--map", "map.toml"]);
    assert!(records[0].contains(r#""id":"mrn-0042""#) && records[0].contains(r#""birthDate":"1990-01-31""#));
    assert!(records[0].contains(r#""gender":"female""#) && !records[0].contains("Chart"));
}

#[test]
fn what_a_map_cannot_translate_is_told_by_row_and_column() {
    let bench = Bench::new();
    bench.write("map.toml", MAP);
    bench.write(
        "p.csv",
        "Sex,DOB,Chart,Last,First,MRN\nF,31/12/1990,,Doe,Jane,1\nX,01/02/1990,,Doe,Jane,2\nF,,,Doe,Jane,1\n",
    );
    let said = validate(&bench, "p.csv", &["--map", "map.toml"]);
    let lines: Vec<_> = said.ends(3).out.lines().collect();
    assert_eq!(lines[0], "p.csv:2: column \"DOB\": birthDate: Must be a real date as %m/%d/%Y [format]");
    assert_eq!(lines[1], "p.csv:3: column \"Sex\": gender: Must be one of the map's F, M, U [unmapped]");
    assert!(lines.get(2).is_none(), "the id of a rejected row is not taken: {lines:?}");
    bench.run(&["import", "Patient", "p.csv", "--map", "map.toml", "--state", "state"]).ends(3);
    // As it was written, to be fixed.
    assert!(bench.read("state/rejected.ndjson").contains("31/12/1990"));
}

#[test]
fn a_date_without_a_map_is_told_with_its_column() {
    let said = checked("lastName,firstName,birthDate\nA,B,01/31/1990\n", &[]);
    assert!(said.ends(3).out.starts_with(
        "p.csv:2: column \"birthDate\": birthDate: Invalid date; a map's format says how the column writes it [format]"
    ));
    assert!(!said.out.contains("1990"));
}

#[test]
fn maps_that_do_not_fit_are_refused() {
    let with = |map: &str| {
        let bench = Bench::new();
        bench.write("map.toml", map);
        bench.write("p.csv", "first,lastName\nA,B\n");
        validate(&bench, "p.csv", &["--map", "map.toml"])
    };
    with("type = \"Person\"").ends(2).says("the map is for Person");
    with("[columns]\nfirst = { to = \"firstNam\" }").ends(2).says("did you mean firstName?");
    with("[columns]\nfrist = { to = \"firstName\" }").ends(2).says("did you mean \"first\"?");
    with("[columns]\nfirst = { too = \"firstName\" }").ends(2).says("too");
    with("[columns]\nfirst = { to = \"birthDate\", format = \"%m/%d/%y\" }").ends(2).says("century");
    with("[columns]\nfirst = { to = \"lastName\" }").ends(2).says("no column fills firstName");
    checked("id,firstName,lastName,address.city,address.city.x\n", &[]).ends(2);
    let both = "type = \"Patient\"\n[columns]\nfirst = { to = \"firstName\" }\nlastName = { to = \"firstName\" }";
    with(both).ends(2);
    let two = "[columns]\na = { to = \"lastName\" }";
    let bench = Bench::new();
    bench.write("map.toml", two);
    bench.write("p.csv", "a,firstName,lastName\n");
    validate(&bench, "p.csv", &["--map", "map.toml"]).ends(2).says("another column fills the same member");
    with("[columns]\nfirst = { to = \"firstName\", drop = true }").ends(2).says("drop stands alone");
}

#[test]
fn an_unknown_column_names_the_nearest_or_is_kept_or_dropped() {
    let content = "firstName,lastName,birthdate,Shoe\nA,B,,43\n";
    checked(content, &[]).ends(2).says("column \"birthdate\"").says("did you mean birthDate?");
    checked(content, &["--unknown", "drop"]).ends(0);
    let bench = Bench::new();
    bench.write("p.csv", content);
    let records = import(&bench, "p.csv", &["--unknown", "keep"]);
    assert!(records[0].contains(r#""Shoe":"43""#));
    checked("firstName\nA\n", &[]).ends(2).says("no column fills lastName");
    checked("firstName,lastName,lastName\nA,B,C\n", &[]).ends(2).says("twice");
    checked("", &[]).ends(2).says("no header");
}

#[test]
fn ragged_rows_are_rejected_with_their_row() {
    let said = checked("firstName,lastName,email\nA,B,a@b\nC,D\nE,F,e@f,x\n", &[]);
    let lines: Vec<_> = said.ends(3).out.lines().collect();
    assert!(lines[0].starts_with("p.csv:3:") && lines[0].contains("2 cells of 3") && lines[0].contains("\"email\""));
    assert!(lines[1].starts_with("p.csv:4:") && lines[1].contains("4 cells"), "{lines:?}");
    assert_eq!(lines.len(), 2);
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_and_not_a_silent_loss() {
    let bench = Bench::new();
    bench.write("p.csv", "firstName,lastName\nA,B\nC,\"D\nE,F\nG,H\n");
    validate(&bench, "p.csv", &[]).ends(2).says("p.csv: line 3: a quote that opens in this row is never closed");
    bench.import(&["Patient", "p.csv"]).ends(2).says("line 3");
    assert_eq!(bench.stub.count("POST", ""), 0, "nothing is sent of a file that cannot be read");
}

#[test]
fn validation_reads_ndjson_by_the_services_rules() {
    let bench = Bench::new();
    let content = b"{\"firstName\":\"A\",\"lastName\":\"B\"}\n\n[]\n{\"firstName\":1,\"lastName\":\"B\"}\n{\"x\n{\"firstName\":\"\xff\"}\n";
    bench.write("p.ndjson", content);
    let said = validate(&bench, "p.ndjson", &[]);
    let lines: Vec<_> = said.ends(3).out.lines().collect();
    for (line, (number, code)) in lines.iter().zip([
        (2, "blank_line"),
        (3, "not_an_object"),
        (4, "type"),
        (5, "invalid_json"),
        (6, "invalid_json"),
    ]) {
        assert!(line.starts_with(&format!("p.ndjson:{number}:")) && line.ends_with(&format!("[{code}]")), "{line}");
    }
    let document = validate(&bench, "p.ndjson", &["--output", "json"]).json();
    assert_eq!((document["totalRecords"].as_u64(), document["invalidRecords"].as_u64()), (Some(6), Some(5)));
    assert_eq!(document["errors"][0]["line"], 2);
    let events = validate(&bench, "p.ndjson", &["--output", "ndjson"]).events();
    assert_eq!(events.last().unwrap()["errorCount"], 5);
    let mut stdin = bare(bench.folder.path(), &["validate", "Patient", "-"]);
    stdin.write_stdin("{\"firstName\":\"A\",\"lastName\":\"B\"}");
    run(stdin).ends(0).says("1 valid");
}

#[test]
fn a_line_without_end_is_too_large_and_is_not_held() {
    let bench = Bench::new();
    let long = format!("{{\"firstName\":\"{}\"}}\n", "x".repeat(3 << 20));
    bench.write("p.ndjson", format!("{long}{{\"firstName\":\"A\",\"lastName\":\"B\"}}\n"));
    let said = validate(&bench, "p.ndjson", &[]);
    assert!(said.ends(3).out.contains("p.ndjson:1: Must be at most 1048576 bytes [too_large]"), "{}", said.out);
    let large = format!("{{\"firstName\":\"A\",\"lastName\":\"B\",\"note\":\"{}\"}}\n", "x".repeat(380_000));
    bench.write("q.ndjson", large);
    assert!(validate(&bench, "q.ndjson", &[]).ends(3).out.contains("[too_large]"));
}
