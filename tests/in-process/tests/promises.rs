//! SECURITY.md and RUNBOOK.md name a test for each of their promises; every one of them exists.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::collections::BTreeMap;
use std::path::Path;

fn sources(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            // A test of several files goes by the name of its folder.
            let is_main = path.ends_with("main.rs");
            let named = if is_main { path.parent().unwrap().with_extension("rs") } else { path.clone() };
            let name = named.file_name().unwrap().to_string_lossy().into_owned();
            found.entry(name).or_default().push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_promise_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = BTreeMap::new();
    for part in ["shared", "functions", "tests"] {
        sources(&root.join(part), &mut files);
    }
    for (page, least) in [("SECURITY.md", 25), ("RUNBOOK.md", 10)] {
        let promises = std::fs::read_to_string(root.join(page)).unwrap();
        let mut named = 0;
        for quoted in promises.split('`').skip(1).step_by(2) {
            let Some((file, test)) = quoted.split_once(".rs: ") else { continue };
            named += 1;
            let source = files.get(&format!("{file}.rs")).unwrap_or_else(|| panic!("{page}: there is no {file}.rs"));
            assert!(source.contains(&format!("fn {test}(")), "{page}: {file}.rs has no test {test}");
        }
        assert!(named > least, "{page}: {named}");
    }
}
