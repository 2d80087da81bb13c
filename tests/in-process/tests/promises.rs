//! SECURITY.md and RUNBOOK.md name a test for each of their promises; every one of them exists.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use std::path::Path;

/// All source files below a folder: their paths, and what is in them.
fn sources(directory: &Path, found: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn every_promise_has_its_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for part in ["shared", "functions", "tests"] {
        sources(&root.join(part), &mut files);
    }
    for (page, least) in [("SECURITY.md", 25), ("RUNBOOK.md", 10)] {
        let promises = std::fs::read_to_string(root.join(page)).unwrap();
        let mut named = 0;
        for quoted in promises.split('`').skip(1).step_by(2) {
            let Some((file, test)) = quoted.split_once(".rs: ") else { continue };
            named += 1;
            let ending = format!("/{file}.rs");
            let mut of_name = files.iter().filter(|(path, _)| path.ends_with(&ending)).peekable();
            assert!(of_name.peek().is_some(), "{page}: there is no {file}.rs");
            let has_test = of_name.any(|(_, source)| source.contains(&format!("fn {test}(")));
            assert!(has_test, "{page}: {file}.rs has no test {test}");
        }
        assert!(named > least, "{page}: {named}");
    }
}
