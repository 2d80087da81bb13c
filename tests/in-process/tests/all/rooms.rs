//! The order of the house: inside a crate no rooms (the modules at its top) import each other in a circle, and no crate is
//! larger than one person reads in a day.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use in_process::{root, rust_files};

/// The most lines of a crate.
const MAX_LINES: usize = 5_000;

/// What a crate's rooms import of each other.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn crates() -> Vec<PathBuf> {
    let root = root();
    let of = |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let all = ["shared", "functions", "clients", "tests"].into_iter().flat_map(of).chain([root.join("admin")]);
    all.filter(|path| path.join("src").is_dir() && path.join("Cargo.toml").is_file()).collect()
}

/// All source files below a folder, but for those of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let is_test = |path: &PathBuf| {
        let below = path.strip_prefix(folder).unwrap();
        below.ends_with("tests.rs") || below.components().any(|part| part.as_os_str() == "tests")
    };
    rust_files(folder).into_iter().filter(|path| !is_test(path)).collect()
}

/// The code of a file outside tests and comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The identifier that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
    &text[..end]
}

/// What follows `crate::`: one name, or several in braces.
fn first_words(place: &str) -> Vec<&str> {
    let Some(group) = place.strip_prefix('{') else { return vec![word(place)] };
    let (mut depth, mut words, mut begins) = (1, Vec::new(), true);
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => break,
            '}' => depth -= 1,
            ',' if depth == 1 => begins = true,
            _ if begins && !character.is_whitespace() => {
                words.push(word(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    words
}

/// The room of every name that the crate's root hands on.
fn handed_on(root: &str) -> BTreeMap<String, String> {
    let mut rooms = BTreeMap::new();
    for statement in root.split("use ").skip(1) {
        let statement = statement.split(';').next().unwrap();
        let room = word(statement);
        let names = statement.split(|character: char| !character.is_alphanumeric() && character != '_');
        rooms.extend(names.skip(1).filter(|name| !name.is_empty()).map(|name| (name.to_owned(), room.to_owned())));
    }
    rooms
}

fn imports(folder: &Path) -> Imports {
    let src = folder.join("src");
    let root = ["lib.rs", "main.rs"].map(|name| src.join(name)).into_iter().find(|path| path.is_file()).unwrap();
    let handed_on = handed_on(&code(&root));
    let room_of = |path: &Path| {
        let first = path.strip_prefix(&src).unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    };
    let paths = sources(&src);
    let rooms: BTreeSet<_> = paths.iter().map(|path| room_of(path)).collect();
    let mut imports = Imports::new();
    for path in paths.iter().filter(|path| **path != root) {
        let room = room_of(path);
        let code = code(path);
        // As many steps up as the file is deep lead to the crate's root, too.
        let up = "super::".repeat(path.strip_prefix(&src).unwrap().components().count());
        let from_root = code.split("crate::").skip(1).chain(code.split(&up).skip(1));
        for place in from_root {
            for named in first_words(place) {
                let other = if rooms.contains(named) { Some(named) } else { handed_on.get(named).map(String::as_str) };
                if let Some(other) = other.filter(|other| *other != room) {
                    imports.entry(room.clone()).or_default().insert(other.to_owned());
                }
            }
        }
    }
    imports
}

/// All rooms that one gets to from a room.
fn reached(imports: &Imports, from: &str) -> BTreeSet<String> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(room) = open.pop() {
        for next in imports.get(&room).into_iter().flatten() {
            if reached.insert(next.clone()) {
                open.push(next.clone());
            }
        }
    }
    reached
}

/// The rooms that import each other in a circle.
fn circles(imports: &Imports) -> Vec<&String> {
    imports.keys().filter(|room| reached(imports, room).contains(*room)).collect()
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    let all: BTreeMap<_, _> = crates().into_iter().map(|folder| (folder.clone(), imports(&folder))).collect();
    assert!(all.len() >= 20 && all.values().filter(|imports| !imports.is_empty()).count() >= 7);
    let tied: Vec<_> = all.iter().map(|(folder, imports)| (folder, circles(imports))).collect();
    let tied: Vec<_> = tied.into_iter().filter(|(_, rooms)| !rooms.is_empty()).collect();
    assert_eq!(tied, []);
}

#[test]
fn a_circle_is_found_at_any_length() {
    let imports = |pairs: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (room, other) in pairs {
            imports.entry((*room).to_owned()).or_default().insert((*other).to_owned());
        }
        imports
    };
    assert_eq!(circles(&imports(&[("a", "b"), ("b", "c"), ("a", "c")])), Vec::<&String>::new());
    assert_eq!(circles(&imports(&[("a", "b"), ("b", "c"), ("c", "b")])), ["b", "c"]);
    assert_eq!(first_words("{One, two::{Three, Four}, five::Six};"), ["One", "two", "five"]);
    assert_eq!(handed_on("mod a;\npub use a::{One, Two};\n").get("Two").map(String::as_str), Some("a"));
}

#[test]
fn no_crate_is_too_large_to_read() {
    for folder in crates() {
        let count = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
        let lines: usize = sources(&folder.join("src")).iter().map(count).sum();
        assert!(lines <= MAX_LINES, "{}: {lines} lines", folder.display());
    }
}

/// What `profile.release.package` of a workspace says of each crate.
fn optimised(workspace: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(workspace).join("Cargo.toml")).unwrap();
    let of_packages = text.split("[profile.release.package]").nth(1).unwrap().lines().skip(1);
    let lines = of_packages.take_while(|line| !line.starts_with('[')).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" = ")).map(|(name, how)| (name.to_owned(), how.to_owned())).collect()
}

#[test]
fn what_is_measured_is_compiled_as_it_is_deployed() {
    let lock = fs::read_to_string(root().join("bench/Cargo.lock")).unwrap();
    let (deployed, measured) = (optimised(""), optimised("bench"));
    let is_measured =
        |name: &str| lock.contains(&format!("name = \"{}\"", name.trim_matches('"').split('@').next().unwrap()));
    assert!(deployed.len() > 20 && measured.contains_key("fhir"));
    for (name, how) in deployed.iter().filter(|(name, _)| is_measured(name)) {
        assert_eq!(measured.get(name), Some(how), "{name} in bench/Cargo.toml");
    }
}
