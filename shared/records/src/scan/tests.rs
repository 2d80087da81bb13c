//! The scanner's guards: a conformance table, `serde_json`'s grammar and the `jsonschema` crate as oracles,
//! and the lossless stored line.

#![allow(clippy::format_collect, clippy::cast_precision_loss, reason = "test")]

mod conformance;
mod grammar_oracle;
mod lossless;
mod random;
mod schema_oracle;
