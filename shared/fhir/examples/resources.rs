//! Prints random records of every type as FHIR, one a line, for those who judge whether that is valid:
//! `cargo run -p fhir --example resources -- 50`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "an example for tests")]

#[path = "../tests/random/mod.rs"]
mod random;

use fhir::{Node, to_fhir};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use records::ResourceType;

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(1);
    let mut runner = TestRunner::deterministic();
    for resource_type in ResourceType::ALL {
        let records = random::record(*resource_type, &resource_type.schema());
        for _ in 0..count {
            let flat = records.new_tree(&mut runner).unwrap().current();
            println!("{}", Node::Object(to_fhir(*resource_type, &flat).unwrap()).to_json());
        }
    }
}
