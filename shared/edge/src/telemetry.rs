//! Logs: JSON lines on standard output, as Lambda collects them.

/// Sets logging up, by Lambda's own variables `AWS_LAMBDA_LOG_FORMAT` and `AWS_LAMBDA_LOG_LEVEL`.
///
/// Log lines name ids, counts and durations; never a value from a record, a body or a key.
pub fn init_telemetry() {
    lambda_runtime::tracing::init_default_subscriber();
}
