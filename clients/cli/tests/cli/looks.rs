//! What is said of a file at the first look, before anything is made or sent; and runs of which nothing was sent.

use crate::{Bench, bare, run};

#[test]
fn what_cannot_be_read_is_told_in_one_sentence_and_nothing_is_made() {
    let bench = Bench::new();
    for (name, content, expected) in [
        ("p.csv", b"PK\x03\x04......[Content_Types].xml".as_slice(), "workbook"),
        ("p.csv", b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "old Excel workbook"),
        ("p.csv", b"<html><body><table>", "web page"),
        ("p.ndjson", b"PK\x03\x04......patients.csv", "zip archive"),
        ("p.csv", b"PK\x03\x04......mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "workbook"),
        ("p.ndjson", b"BZh91AY&SY", "bunzip2"),
        ("p.ndjson", b"[{\"firstName\":\"A\"}]", "jq -c '.[]'"),
        ("p.ndjson", b"{\n  \"firstName\": \"A\"\n}\n", "jq -c ."),
        ("p.ndjson", b"{\"resourceType\":\"Bundle\",\"entry\":[]}", "Bundle"),
        ("p.ndjson", b"{\"resourceType\":\"Patient\",\"name\":[{\"family\":\"Doe\"}]}\n", "FHIR's own resources"),
        ("p.ndjson", b"\xFD7zXZ\0", "xz"),
        ("p.ndjson", b"PAR1\x15", "Parquet"),
        ("p.csv", b"\xEF\xBB\xBF\n <!DOCTYPE HTML>", "web page"),
        ("p.ndjson", b"<?xml version=\"1.0\"?><ClinicalDocument/>", "XML"),
        ("p.csv", b"[{\"a\":1}]", "jq -c '.[]'"),
        ("p.ndjson", b"{\"a\":1,\n\"b\":2}", "jq -c ."),
        ("p.ndjson", b"{\"resourceType\": \"Bundle\",\n \"entry\": [", "Bundle"),
        (
            "p.ndjson",
            b"{\"resourceType\":\"Patient\",\"code\":{\"coding\":[]},\"name\":[{\"family\":\"Doe\"}]}",
            "FHIR's own",
        ),
        ("p.ndjson", b"firstName\tlastName\nA\tB\n", "--format tsv"),
        ("p.txt", b"firstName,lastName\nA,B\n", "--format csv"),
        ("p.csv", b"{\"firstName\":\"A\",\"lastName\":\"B\"}\n", "--format ndjson"),
    ] {
        bench.write(name, content);
        for command in ["validate", "import"] {
            let said = bench.run(&[command, "Patient", name]);
            said.ends(2).says(expected).says(name);
            assert!(!said.err.contains("Doe"), "no value is shown: {}", said.err);
        }
        assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 1, "{name}: nothing is made");
        std::fs::remove_file(bench.path(name)).unwrap();
    }
    assert_eq!(bench.stub.count("POST", ""), 0);
    // What begins nearly so is read, and is told line by line.
    for text in
        ["{\"x\n{\"firstName\":\"A\",\"lastName\":\"B\"}\n", "broken\n{\"firstName\":\"A\",\"lastName\":\"B\"}\n"]
    {
        bench.write("p.ndjson", text);
        bench.run(&["validate", "Patient", "p.ndjson"]).ends(3).says("2 records: 1 valid, 1 invalid");
    }
    for heading in ["PAR1_PHONE", "BZh", "Rar!", "<5"] {
        bench.write("p.csv", format!("{heading},firstName,lastName\n1,A,B\n"));
        bench.run(&["validate", "Patient", "p.csv", "--unknown", "drop"]).ends(0);
    }
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    for (name, content) in [("p.csv.gz", gzip(&tar)), ("p.csv.zst", ruzstd::encoding::compress_to_vec(&tar[..], level))]
    {
        bench.write(name, content);
        bench.run(&["validate", "Patient", name]).ends(2).says("tar archive");
    }
    let mut stdin = bare(bench.folder.path(), &["validate", "Patient", "-"]);
    stdin.write_stdin("firstName,lastName\nA,B\n");
    run(stdin).ends(2).says("stdin").says("--format csv");
}

#[test]
fn utf_16_zstd_delimiters_and_what_stands_before_the_header_are_read() {
    let bench = Bench::new();
    let text = "firstName,lastName\r\nJosé,Müller\r\n";
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    bench.write("marked.csv", [b"\xFF\xFE".as_slice(), &utf16].concat());
    bench.write("plain.csv", utf16);
    let other: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    bench.write("marked-be.csv", [b"\xFE\xFF".as_slice(), &other].concat());
    bench.write("plain-be.csv", other);
    bench.write(
        "packed.csv.zst",
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest),
    );
    let files = ["marked.csv", "plain.csv", "marked-be.csv", "plain-be.csv", "packed.csv.zst"];
    for (state, file) in files.into_iter().enumerate() {
        bench.run(&["import", "Patient", file, "--state", &state.to_string()]).ends(0);
    }
    assert!(bench.stub.state().records.values().all(|(line, _)| line.contains("José") && line.contains("Müller")));
    assert_eq!(bench.stub.state().records.len(), 5);
    // Some writers of tapes and disks fill the last block up.
    bench.write("filled.csv.gz", [gzip(text.as_bytes()), vec![0; 512]].concat());
    bench.run(&["validate", "Patient", "filled.csv.gz"]).ends(0).says("1 valid");
    bench.write("odd.csv", "\n\nfirstName^lastName^\nA, b^C^\n");
    bench.run(&["validate", "Patient", "odd.csv", "--delimiter", "^"]).ends(0).says("1 valid");
    bench.run(&["validate", "Patient", "odd.csv", "--delimiter", "ab"]).ends(2).says("one character");
    bench.write("more.csv", "firstName,lastName,\nA,B,x\n");
    assert!(bench.run(&["validate", "Patient", "more.csv"]).ends(3).out.contains("[ragged_row]"));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_run_of_which_nothing_was_sent_is_taken_over_by_the_corrected_command() {
    let bench = Bench::new();
    bench.write("p.csv", "id,firstName,lastName\n1,A,B\n2,\"C\"x,D\n");
    bench.import(&["Patient", "p.csv"]).ends(2).says("line 3");
    assert!(bench.path("state/run.json").exists(), "the plan began");
    bench.write("p.csv", "id,firstName,lastName\n1,A,B\n2,C,D\n");
    bench.import(&["Patient", "p.csv"]).ends(0);
    assert_eq!(bench.stub.state().records.len(), 2);
    bench.import(&["Patient", "p.csv"]).ends(2).says("not empty; resume it");
    // A journal that is lost proves nothing.
    std::fs::remove_file(bench.path("state/journal.ndjson")).unwrap();
    bench.import(&["Patient", "p.csv"]).ends(2).says("not empty; resume it");
}

#[test]
fn rejected_rows_come_back_as_they_were_with_what_is_wrong() {
    let bench = Bench::new();
    bench.write("map.toml", "[columns]\n\"DOB\" = { to = \"birthDate\", format = \"%m/%d/%Y\" }\n");
    bench.write(
        "p.csv",
        "id;firstName;lastName;DOB\r\n1;A;B;1/2/1990\r\n2;\"C;\"\"c\"\"\";D;31/31/1990\r\n3;E;;1/2/1990\r\n",
    );
    bench.import(&["Patient", "p.csv", "--map", "map.toml"]).ends(3).says("rejected-rows/p.csv");
    let rows = bench.read("state/rejected-rows/p.csv");
    let lines: Vec<_> = rows.lines().collect();
    assert_eq!(lines[0], "\u{feff}\"_violations\";id;firstName;lastName;DOB");
    assert!(lines[1].starts_with("\"DOB: birthDate: Must be a real date"), "{rows}");
    assert!(lines[1].ends_with(";2;\"C;\"\"c\"\"\";D;31/31/1990"), "{rows}");
    assert!(lines[2].starts_with("\"lastName: lastName: Required") && lines[2].ends_with(";3;E;;1/2/1990"), "{rows}");
    // They are imported again with the same map, once they are fixed; the column of violations may stay.
    bench.write("p2.csv", rows.replace("31/31/1990", "3/31/1990"));
    bench.run(&["import", "Patient", "p2.csv", "--map", "map.toml", "--state", "two"]).ends(3);
    let rows = bench.read("two/rejected-rows/p2.csv");
    assert_eq!((rows.matches("_violations").count(), rows.matches("Required").count()), (1, 1), "{rows}");
    bench.write("p3.csv", rows.replace("3;E;;", "3;E;F;"));
    bench.run(&["import", "Patient", "p3.csv", "--map", "map.toml", "--state", "three"]).ends(0);
    assert_eq!(bench.stub.state().records.len(), 3);
}

#[test]
fn rejected_rows_of_every_table_are_kept_whatever_it_is_called() {
    let bench = Bench::new();
    let tables = ["x/a.csv", "3-a.csv", "y/a.csv"];
    for name in tables {
        bench.write(name, format!("firstName,lastName\n{name},\n"));
    }
    bench.import(&[&["Patient"][..], &tables].concat()).ends(3).says("3 read = 0 stored + 3 rejected");
    for (name, of) in [("a.csv", "x/a.csv"), ("3-a.csv", "3-a.csv"), ("3-3-a.csv", "y/a.csv")] {
        let rows = bench.read(&format!("state/rejected-rows/{name}"));
        assert_eq!((rows.lines().count(), rows.contains(of)), (2, true), "{name}: {rows}");
    }
}

#[test]
fn rejected_rows_are_utf_8_whatever_their_file_was() {
    let bench = Bench::new();
    bench.write("w.csv", b"id;firstName;lastName;birthDate\n1;J\xfcrgen;M\xfcller;1990-02-31\n".as_slice());
    let windows = ["--encoding", "windows-1252"];
    bench.import(&[&["Patient", "w.csv"][..], &windows].concat()).ends(3);
    let rows = bench.read("state/rejected-rows/w.csv").replace("1990-02-31", "1990-02-28");
    bench.write("w.csv", rows);
    bench.run(&[&["import", "Patient", "w.csv", "--state", "two"][..], &windows].concat()).ends(0);
    assert!(bench.stub.state().records.values().all(|(line, _)| line.contains("Jürgen") && line.contains("Müller")));
}

#[test]
fn a_folder_of_somebody_else_is_never_emptied() {
    let bench = Bench::new();
    bench.write("p.csv", "id,firstName,lastName\n1,A,B\n");
    for run in ["{\"my\":\"simulation\"}", "{\"version\":99,\"run\":\"r\",\"sources\":[]}"] {
        bench.write("project/run.json", run);
        bench.write("project/results/measurements.csv", "precious");
        bench.run(&["import", "Patient", "p.csv", "--state", "project"]).ends(2).says("is not empty");
        assert_eq!(bench.read("project/results/measurements.csv"), "precious");
    }
}

#[test]
fn what_can_be_read_once_is_not_given_up() {
    let bench = Bench::new();
    // Planned, and nothing sent: the service takes no upload.
    bench
        .stub
        .on_request(|request, _| (request.method == "POST").then(|| crate::stub::Reply::bytes(403, b"{}".to_vec())));
    let mut piped = bench.command(&["import", "Patient", "-", "--format", "csv", "--state", "state", "--no-wait"]);
    piped.write_stdin("id,firstName,lastName\n1,A,B\n");
    let said = run(piped);
    assert_ne!(said.code, 0, "{}", said.err);
    bench.stub.no_hook();
    bench.write("p.csv", "id,firstName,lastName\n2,C,D\n");
    bench.import(&["Patient", "p.csv"]).ends(2).says("not empty");
    bench.run(&["resume", "state"]).ends(0).says("1 read = 1 stored");
}

#[test]
fn retry_sends_no_line_that_nobody_changed() {
    let bench = Bench::new();
    let line = |id: &str, name: &str| format!("{{\"id\":\"{id}\",\"firstName\":\"{name}\",\"lastName\":\"B\"}}\n");
    bench.write("p.ndjson", line("1", "first") + &line("1", "second") + &line("2", "") + &line("3", "kept"));
    bench.import(&["Patient", "p.ndjson"]).ends(3).says("4 read = 2 stored + 2 rejected");
    let rejected = bench.read("state/rejected.ndjson");
    bench.write("state/rejected.ndjson", rejected.replace("\"firstName\":\"\"", "\"firstName\":\"C\""));
    let said = bench.run(&["retry", "state", "--state", "two"]);
    said.ends(3).says("2 read = 1 stored + 1 rejected");
    assert!(bench.read("two/errors.ndjson").contains("\"unchanged\""));
    let state = bench.stub.state();
    let stored = |id: &str| &state.records[&("Patient".to_owned(), id.to_owned())].0;
    assert!(stored("1").contains("first") && stored("2").contains("\"C\""));
}

#[test]
fn references_within_a_folder_are_checked_if_that_is_asked() {
    let bench = Bench::new();
    bench.write("data/Patient.ndjson", "{\"id\":\"p1\",\"firstName\":\"A\",\"lastName\":\"B\"}\n");
    let visit = |id: &str, patient: &str| {
        format!("{{\"id\":\"{id}\",\"status\":\"finished\",\"class\":\"AMB\",\"patientId\":\"{patient}\"}}\n")
    };
    bench.write(
        "data/Encounter.ndjson",
        visit("e1", "p1") + &visit("e2", "p2") + &visit("e3", "p2") + &visit("e4", "Patient/p1"),
    );
    bench.run(&["validate", "data"]).ends(0).says("5 records: 5 valid");
    let said = bench.run(&["validate", "data", "--references"]);
    said.ends(3).says("1 records that others refer to are not in these files");
    let expected = "data/Encounter.ndjson:2: patientId: There is no such Patient among the valid records of these files (Encounter, and 1 more refer to it) [unknown_reference]\n";
    assert_eq!(said.out, expected);
}

/// Wherever they stand, and whatever they are called: the type's own members say what refers to whom.
#[test]
fn references_are_checked_in_lists_below_members_and_of_several_types() {
    let bench = Bench::new();
    bench.write("data/Practitioner.ndjson", "{\"id\":\"d1\",\"firstName\":\"A\",\"lastName\":\"B\"}\n");
    let report = r#"{"id":"r1","status":"final","code":"x","performer":"d1","resultIds":["o1","Observation/o2"],"patientId":"p9","basedOn":["https://example.org/x"]}"#;
    bench.write("data/DiagnosticReport.ndjson", format!("{report}\n"));
    let team = r#"{"id":"t1","name":"T","participant":[{"memberId":"d1"},{"memberId":"d9"}]}"#;
    bench.write("data/CareTeam.ndjson", format!("{team}\n"));
    let said = bench.run(&["validate", "data", "--references", "--output", "json"]).json();
    // Another type's record of that number is another record.
    bench.write("data/Organization.ndjson", "{\"id\":\"p9\",\"name\":\"O\"}\n");
    bench.write("data/Account.ndjson", "{\"id\":\"a1\",\"status\":\"active\",\"patientId\":\"p9\"}\n");
    let again = bench.run(&["validate", "data", "--references", "--output", "json"]).json();
    assert_eq!(again["missingReferences"], said["missingReferences"], "{again}");
    let mut found: Vec<_> =
        said["errors"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, ["/participant/1/memberId", "/patientId", "/resultIds/0", "/resultIds/1"], "{said}");
}

#[test]
fn validate_lists_as_many_as_are_asked_for_and_counts_all() {
    let bench = Bench::new();
    bench.write("p.ndjson", "{\"firstName\":\"A\"}\n".repeat(5));
    let said = bench.run(&["validate", "Patient", "p.ndjson", "--limit", "2"]);
    assert_eq!(said.ends(3).out.lines().count(), 2);
    said.says("3 violations more").says("p.ndjson: 5 records, 5 rejected");
    let document = bench.run(&["validate", "Patient", "p.ndjson", "--limit", "2", "--output", "json"]).json();
    assert_eq!((document["errors"].as_array().unwrap().len(), document["errorCount"].as_u64()), (2, Some(5)));
    assert_eq!(document["errorsTruncated"], true);
}

#[test]
fn dates_that_can_hardly_be_meant_and_records_without_ids_are_told() {
    let bench = Bench::new();
    bench.write("p.csv", "firstName,lastName,birthDate\nA,B,1749-01-01\nC,D,2999-01-01\nE,F,1990-01-01\n");
    let said = bench.run(&["validate", "Patient", "p.csv"]);
    said.ends(0)
        .says("Patient birthDate: 1 dates before 1850")
        .says("1 dates in the future")
        .says("3 records have no id");
    bench.import(&["Patient", "p.csv"]).ends(0).says("imported again, they are stored again");
    // In NDJSON, and with their places.
    let line = |date: &str| format!("{{\"firstName\":\"A\",\"lastName\":\"B\",\"birthDate\":\"{date}\"}}\n");
    bench.write("p.ndjson", line("1990-01-01") + &line("0190-01-15") + &line("0190-01-15"));
    let said = bench.run(&["validate", "Patient", "p.ndjson"]);
    said.ends(0).says("note: Patient birthDate: 2 dates before 1850 (first: ").says("p.ndjson, line 2)");
    let warning = &bench.run(&["validate", "Patient", "p.ndjson", "--output", "json"]).json()["warnings"][0];
    assert_eq!((warning["doubt"].as_str(), warning["line"].as_u64()), (Some("ancient"), Some(2)));
}

#[test]
fn what_cannot_be_used_is_told_before_a_folder_is_made() {
    let bench = Bench::new();
    bench.write("p.csv", "id,firstName,lastName\n1,A,B\n");
    bench.write("map.toml", "type = \"Patient\"\n[columns]\nfirst = \"firstName\"\n");
    bench.write("key", "no key");
    let import = ["import", "Patient", "p.csv", "--state", "state"];
    for (more, code, expected) in [
        (&["--map", "map.toml"][..], 2, "\"first\" is not in the file"),
        (&["--map", "missing.toml"], 1, "missing.toml"),
        (&["--key-file", "key"], 4, "key"),
        (&["--url", "http://127.0.0.1:9"], 1, "cannot reach the service"),
    ] {
        bench.run(&[&import[..], more].concat()).ends(code).says(expected);
        assert!(!bench.path("state").exists(), "{more:?}");
    }
    bench.stub.on_request(|_, _| Some(crate::stub::error(401, "UNAUTHORIZED", "Invalid API key", &[])));
    bench.run(&import).ends(4);
    assert!(!bench.path("state").exists());
    bench.run(&["validate", "Patient", "gone.csv"]).ends(2).says("gone.csv: cannot be opened");
}

#[test]
fn names_that_are_not_utf_8_are_refused_by_name_wherever_they_stand() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    bench.write("p.csv", "firstName,lastName\nA,B\n");
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    std::fs::write(bench.path("").join(odd), "type = \"Patient\"\n").unwrap();
    for option in ["--state", "--map"] {
        let mut command = bench.command(&["import", "Patient", "p.csv", option]);
        command.arg(odd);
        run(command).ends(2).says("not UTF-8");
    }
    let mut command = bench.command(&["import", "Patient"]);
    command.arg(odd);
    run(command).ends(2).says("not UTF-8");
    assert_eq!(bench.stub.count("POST", ""), 0);
}

#[test]
fn a_map_that_is_for_none_of_the_files_is_told() {
    let bench = Bench::new();
    bench.write("p.csv", "firstName,lastName\nA,B\n");
    bench.write("map.toml", "[Patient]\n[Encounter.fields]\nstatus = \"finished\"\n");
    let said = bench.run(&["validate", "Patient", "p.csv", "--map", "map.toml"]);
    said.ends(0).says("map.toml: the map of Encounter is for none of these files");
    bench.write("maps/a.toml", "type = \"Patient\"\nfiles = [\"p.csv\"]\n");
    bench.write("maps/b.toml", "type = \"Patient\"\nfiles = [\"q.csv\"]\n");
    let said = bench.import(&["Patient", "p.csv", "--map", "maps"]);
    said.ends(0).says("maps/b.toml: the map of Patient is for none of these files: it names q.csv");
    assert_eq!(said.err.matches("none of these files").count(), 1, "{}", said.err);
}

#[test]
fn what_the_month_cannot_take_is_told_before_the_start() {
    let bench = Bench::new();
    bench.write("p.ndjson", crate::patients(3));
    bench.stub.state().month_left = 2;
    bench.import(&["Patient", "p.ndjson"]).ends(0).says("the month has 2 requests left");
    let events = bench.run(&["import", "Patient", "p.ndjson", "--state", "two", "--output", "ndjson"]).events();
    assert_eq!(events[0]["recordsLeftThisMonth"], 2);
    let plan = bench.run(&["import", "Patient", "p.ndjson", "--dry-run", "--output", "json"]).json();
    assert_eq!(plan["recordsLeftThisMonth"], 2);
    bench.stub.state().month_left = 3;
    let said = bench.run(&["import", "Patient", "p.ndjson", "--state", "three"]);
    assert!(!said.ends(0).err.contains("requests left"), "{}", said.err);
}

#[test]
fn a_limit_is_told_once_with_what_to_do() {
    let bench = Bench::new();
    bench.write("p.ndjson", crate::patients(1));
    bench.stub.state().operations_left = 0;
    let said = bench.import(&["Patient", "p.ndjson", "--no-wait"]);
    let told = |text: &str| said.err.matches(text).count();
    assert_eq!((said.ends(7).err.matches("error:").count(), told("clinik-bulk resume")), (1, 1), "{}", said.err);
    assert!(!said.err.contains("retry"), "{}", said.err);
}

#[test]
fn the_report_says_what_a_clinic_files() {
    let bench = Bench::new();
    bench.write(
        "map.toml",
        "type = \"Patient\"\n[columns]\n\"Day <of> birth\" = { to = \"birthDate\", format = \"%m/%d/%Y\" }\n",
    );
    let rows: String = (0..1234).map(|n| format!("{n},A,B,1/2/1990\n")).collect();
    bench.write("p.csv", format!("id,firstName,lastName,Day <of> birth\n{rows}x,A,B,31/31/1990\n"));
    let import = ["Patient", "p.csv", "--map", "map.toml", "--label", "Clinic: sons"];
    bench.import(&import).ends(3);
    let page = bench.read("state/report.html");
    for expected in [
        "<title>Import: Clinic: sons</title>",
        "width=device-width",
        "Finished. 1 records were rejected; the others are stored.",
        "1,235 read = 1,234 stored + 1 rejected",
        "<td>clinic</td>",
        "map.toml",
        "p.csv",
        "Day &lt;of&gt; birth",
        "/birthDate",
        ">job_",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("31/31/1990") && !page.contains("<script") && !page.contains("<of>"), "{page}");
    bench.stub.state().operations_left = 0;
    bench
        .run(
            &[&["import"], &import[..2], &["--state", "two", "--max-rejected", "1", "--unknown", "drop", "--no-wait"]]
                .concat(),
        )
        .ends(7);
    assert!(bench.read("two/report.html").contains("Not finished: 1,235 records are neither stored nor rejected."));
}

#[test]
fn names_do_not_steer_the_terminal() {
    let bench = Bench::new();
    bench.write("p.csv", "firstName,lastName,\u{1b}[2Jx\nA,B,C\n");
    let said = bench.run(&["validate", "Patient", "p.csv"]);
    said.ends(2);
    assert!(!said.err.contains('\u{1b}') && said.err.contains("\\u{1b}[2Jx"), "{}", said.err);
}
