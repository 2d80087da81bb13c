//! The commands of docs/migrating.md and of the project's README, run as they stand there.

use crate::stub::KEY;
use crate::{Bench, bare, run};

const PAGE: &str = include_str!("../../../../docs/migrating.md");
const README: &str = include_str!("../../../../README.md");

/// A page's code blocks of a language.
fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A shell's words, as far as the page uses them.
fn words(line: &str, url: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.into_iter().map(|word| word.replace("$CLINIKAPI_BASE_URL", url)).collect()
}

#[test]
fn the_page_leads_from_a_csv_file_to_a_finished_migration() {
    let bench = Bench::new();
    bench.write("patients.csv", blocks(PAGE, "csv")[0]);
    bench.write("map.toml", blocks(PAGE, "toml")[0]);
    let mut ran = 0;
    for line in blocks(PAGE, "sh").iter().flat_map(|block| block.lines()) {
        let words = words(line, &bench.stub.url);
        let arguments: Vec<_> = words.iter().map(String::as_str).collect();
        assert_eq!(arguments[0], "clinik-bulk");
        let mut command = bare(bench.folder.path(), &arguments[1..]);
        let mut expected = 0;
        match arguments[1] {
            "login" => {
                command.write_stdin(KEY);
            }
            "validate" | "convert" | "import" | "resume" => expected = 3,
            "retry" => {
                let rejected = bench.read("migration/rejected.ndjson");
                let fixed = rejected.replace("2/30/1970", "1970-02-28").replace("\"X\"", "\"unknown\"");
                let fixed = fixed.replacen('{', "{\"firstName\":\"Ruth\",", 1);
                bench.write("migration/rejected.ndjson", fixed);
            }
            _ => {}
        }
        let said = run(command);
        said.ends(expected);
        if arguments[1] == "validate" {
            assert_eq!(said.out, blocks(PAGE, "text")[0], "the page shows what is printed");
        }
        ran += 1;
    }
    assert_eq!(ran, 15);
    let state = bench.stub.state();
    let ids: Vec<_> = state.records.keys().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, ["mrn-00042", "mrn-00043", "mrn-00044"]);
    let jane = &state.records[&("Patient".to_owned(), "mrn-00042".to_owned())].0;
    assert!(jane.contains("1990-01-15") && jane.contains("female") && jane.contains("01569 4711"));
    drop(state);
    for file in ["report.html", "summary.json", "errors.ndjson", "rejected.ndjson", "ids.ndjson"] {
        assert!(PAGE.contains(&format!("`{file}`")) && bench.path("migration").join(file).exists(), "{file}");
    }
}

#[test]
fn the_map_that_shows_all_settings_is_one() {
    let bench = Bench::new();
    let map = blocks(PAGE, "toml")[1];
    bench.write("map.toml", map);
    bench
        .write("visits.csv", "Visit,MRN,Kind,Doctor,Notes,Day,Time\nV1,7,ip,d1,x,7/4/99,2:05 PM\nV2,8,er,,-,7/4/24,\n");
    bench.import(&["Encounter", "visits.csv", "--map", "map.toml"]).ends(0);
    let state = bench.stub.state();
    let starts: Vec<_> = state.records.values().map(|(line, _)| line.split("\"start\":").nth(1).unwrap()).collect();
    assert!(starts.iter().any(|start| start.starts_with("\"1999-07-04T14:05:00-04:00\"")), "{starts:?}");
    assert!(starts.iter().any(|start| start.starts_with("\"2024-07-04\"")), "{starts:?}");
}

#[test]
fn what_readme_shows_imports_and_exports() {
    let bench = Bench::new();
    bench.write("patients.ndjson", "{\"firstName\":\"Jane\",\"lastName\":\"Doe\"}\n");
    let [commands] = blocks(README, "sh")[..] else { panic!("one block of the command line") };
    for line in commands.lines() {
        let words = words(line, &bench.stub.url);
        let arguments: Vec<_> = words.iter().skip(1).map(String::as_str).collect();
        bench.run(&arguments).ends(0);
    }
    assert_eq!(bench.stub.state().records.len(), 1);
}

#[test]
fn the_page_names_every_exit_code() {
    for code in 0..=8 {
        assert!(PAGE.contains(&format!("| {code} | ")), "{code}");
    }
}
