//! SECURITY.md and RUNBOOK.md name a test for each of their promises; every one of them exists.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test")]

use in_process::{root, rust_files};

#[test]
fn every_promise_has_its_test() {
    let root = root();
    let paths = ["shared", "functions", "tests"].into_iter().flat_map(|part| rust_files(&root.join(part)));
    let files: Vec<_> =
        paths.map(|path| (path.display().to_string(), std::fs::read_to_string(path).unwrap())).collect();
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
