//! Logs and metrics: JSON lines on standard output, as Lambda collects them.
//!
//! A log line names ids, counts and durations; never a value from a record, a body or a key. A metric is a line
//! in `CloudWatch`'s embedded format, made of an event of [`ports::METRICS`]: no call, no wait, and the ids
//! that it was about stand beside it.

use std::fmt::{Debug, Write as _};
use std::io::Write;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Where the metrics are found in `CloudWatch`.
const NAMESPACE: &str = "ClinikBulk";

/// The field that tells metrics of imports and exports apart.
const JOB_TYPE: &str = "job_type";

/// The field that marks a log line as an audit event.
const AUDIT: &str = "audit";

/// Sets logging up, at the level that `LOG_LEVEL` names. It is a variable of our own: Lambda's `ApplicationLogLevel`
/// drops every line below it that says no level, and so all metrics and audits. Lines name the function and its
/// version, since functions share log groups and two versions work at once while a deployment moves on or back; metrics
/// name the deployment by `STACK_NAME`.
pub fn init_telemetry() {
    let variable = |name| std::env::var(name).unwrap_or_default();
    let level = variable("LOG_LEVEL").parse().unwrap_or(LevelFilter::INFO);
    let at_work = AtWork {
        stack: variable("STACK_NAME"),
        function: variable("AWS_LAMBDA_FUNCTION_NAME"),
        version: variable("AWS_LAMBDA_FUNCTION_VERSION"),
    };
    subscriber(level, at_work, std::io::stdout).init();
}

/// Who writes the lines.
struct AtWork {
    stack: String,
    function: String,
    version: String,
}

fn subscriber<W: Write + 'static>(
    level: LevelFilter,
    at_work: AtWork,
    writer: impl Fn() -> W + Clone + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    let is_metric = |metadata: &Metadata<'_>| metadata.target() == ports::METRICS;
    // A level is for logs: metrics and audits are told whatever it is.
    let is_log = move |metadata: &Metadata<'_>| {
        !is_metric(metadata) && (*metadata.level() <= level || metadata.fields().field(AUDIT).is_some())
    };
    let AtWork { stack, function, version } = at_work;
    // The span of the invocation carries its request id and its trace.
    let beginning: Arc<str> = Arc::from(format!("{{\"function\":{},\"version\":{},", json!(function), json!(version)));
    let line_writer = writer.clone();
    let named = move || NamedLine { beginning: Arc::clone(&beginning), writer: line_writer() };
    let logs = tracing_subscriber::fmt::layer()
        .json()
        .with_target(false)
        .with_span_list(false)
        .with_writer(named)
        .with_filter(FilterFn::new(is_log));
    let metrics = Metrics { stack, function, writer }.with_filter(FilterFn::new(is_metric));
    tracing_subscriber::registry().with(logs).with(metrics)
}

/// Puts the function's name and version into a line of JSON, which the formatter hands over whole: it has no place for
/// what all lines share.
struct NamedLine<W> {
    /// What the line begins with in place of its brace.
    beginning: Arc<str>,
    writer: W,
}

impl<W: Write> Write for NamedLine<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        match line.strip_prefix(b"{") {
            Some(members) => self.writer.write_all(&[self.beginning.as_bytes(), members].concat())?,
            None => self.writer.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.writer.flush()
    }
}

/// Writes metrics in the embedded format
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
struct Metrics<F> {
    stack: String,
    function: String,
    writer: F,
}

/// An event's fields: numbers are metrics, all others are told beside them.
#[derive(Default)]
struct Fields {
    metrics: Vec<Value>,
    members: Map<String, Value>,
    has_job_type: bool,
}

impl Fields {
    fn metric(&mut self, field: &Field, value: impl Into<Value>) {
        let name = camel_case(field.name());
        let unit = match field.name() {
            name if name.ends_with("_ms") => "Milliseconds",
            name if name.ends_with("_bytes") => "Bytes",
            _ => "Count",
        };
        self.metrics.push(json!({"Name": name, "Unit": unit}));
        self.members.insert(name, value.into());
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.metric(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.metric(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.metric(field, u64::try_from(value).unwrap_or(u64::MAX));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.metric(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.has_job_type |= field.name() == JOB_TYPE;
        self.members.insert(camel_case(field.name()), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

impl<S: Subscriber, W: Write, F: Fn() -> W + 'static> Layer<S> for Metrics<F> {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields { metrics, mut members, has_job_type } = fields;
        let mut dimensions = vec![json!(["Stack"])];
        if has_job_type {
            dimensions.push(json!(["Stack", camel_case(JOB_TYPE)]));
        }
        members.insert("Stack".to_owned(), self.stack.as_str().into());
        members.insert("function".to_owned(), self.function.as_str().into());
        members.insert(
            "_aws".to_owned(),
            json!({
                "Timestamp": jiff::Timestamp::now().as_millisecond(),
                "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": dimensions, "Metrics": metrics}],
            }),
        );
        let line = Value::Object(members).to_string() + "\n";
        // A line that cannot be written cannot be told of either.
        let _written = (self.writer)().write_all(line.as_bytes());
    }
}

/// `jobs_failed` as `CloudWatch` shows it: `JobsFailed`.
fn camel_case(name: &str) -> String {
    name.split('_')
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written_by(events: impl FnOnce()) -> Vec<Value> {
        written_at(LevelFilter::INFO, events)
    }

    fn written_at(level: LevelFilter, events: impl FnOnce()) -> Vec<Value> {
        let lines = Lines::default();
        let writer = lines.clone();
        let at_work = AtWork { stack: "here".to_owned(), function: "get-job".to_owned(), version: "7".to_owned() };
        let subscriber = subscriber(level, at_work, move || writer.clone());
        tracing::subscriber::with_default(subscriber, events);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_metric_is_one_line_in_the_embedded_format_and_no_log_line() {
        let lines = written_by(|| {
            tracing::info!(target: ports::METRICS, job_type = "import", job_id = %"job_1",
                jobs_completed = 1, file_bytes = 5_u64, job_duration_ms = 7_u128);
        });
        assert_eq!(lines.len(), 1);
        assert!(lines[0]["_aws"]["Timestamp"].is_i64());
        let described = json!([{
            "Namespace": "ClinikBulk",
            "Dimensions": [["Stack"], ["Stack", "JobType"]],
            "Metrics": [
                {"Name": "JobsCompleted", "Unit": "Count"},
                {"Name": "FileBytes", "Unit": "Bytes"},
                {"Name": "JobDurationMs", "Unit": "Milliseconds"},
            ],
        }]);
        assert_eq!(lines[0]["_aws"]["CloudWatchMetrics"], described);
        let values = ["Stack", "JobType", "JobId", "JobsCompleted", "FileBytes", "JobDurationMs"];
        let values = values.map(|name| lines[0][name].clone());
        assert_eq!(json!(values), json!(["here", "import", "job_1", 1, 5, 7]));
    }

    #[test]
    fn a_log_line_is_json_and_tells_of_the_invocation() {
        let lines = written_by(|| {
            let span = tracing::info_span!("invocation", requestId = "8476");
            span.in_scope(|| tracing::info!(status = 202, "answered"));
            tracing::debug!("not told");
        });
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["fields"], json!({"message": "answered", "status": 202}));
        assert_eq!((&lines[0]["level"], &lines[0]["span"]["requestId"]), (&json!("INFO"), &json!("8476")));
        assert_eq!((&lines[0]["function"], &lines[0]["version"]), (&json!("get-job"), &json!("7")));
    }

    #[test]
    fn no_level_silences_metrics_and_audits() {
        let lines = written_at(LevelFilter::ERROR, || {
            tracing::info!(status = 202, "answered");
            tracing::info!(audit = "job.started", "job started");
            tracing::info!(target: ports::METRICS, jobs_started = 1);
        });
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["fields"]["audit"], &lines[1]["JobsStarted"]), (&json!("job.started"), &json!(1)));
    }
}
