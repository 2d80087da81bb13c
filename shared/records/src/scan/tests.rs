//! The scanner's guards: a conformance table, serde_json's grammar and the `jsonschema` crate as oracles,
//! and the lossless stored line.

mod conformance;
mod grammar_oracle;
mod lossless;
mod random;
mod schema_oracle;
