//! What all functions share at the rim: configuration, telemetry, the HTTP envelope and its errors, SQS
//! batches, the deadline. It translates between the outside and the domain, and names no table.

pub mod config;
pub mod http;
pub mod sqs;
pub mod system;
mod telemetry;

pub use lambda_http::Error;
pub use telemetry::init_telemetry;
