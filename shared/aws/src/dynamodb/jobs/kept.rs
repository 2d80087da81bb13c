//! Jobs and segments as items, and back.

use aws_sdk_dynamodb::types::AttributeValue;
use domain::ports::PortError;
use domain::{Job, JobId, JobType, Segment, Target};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

use crate::dynamodb::{Item, VERSION, check_version, number, partition_key, read_number, text, time_to_live};
use crate::error::unreadable;

/// Jobs of one type are spread over so many partitions of the index.
pub(super) const BUCKETS_PER_TYPE: u64 = 2;

/// The attribute of a job.
pub(super) const JOB: &str = "job";

/// The attribute of a segment.
const SEGMENT: &str = "segment";

/// What the table holds.
pub(super) enum Kept<'a> {
    Job(&'a Job),
    Segment(&'a Segment),
}

impl Kept<'_> {
    /// The whole in one attribute, beside it what the store looks at.
    pub(super) fn item(&self) -> Result<Item, PortError> {
        let mut item = self.key();
        item.extend([
            ("v".to_owned(), number(VERSION)),
            ("revision".to_owned(), number(self.revision())),
            (self.name().to_owned(), self.content()?),
            ("expiresAt".to_owned(), time_to_live(self.expires_at())),
        ]);
        if let Some(due_at) = self.due_at() {
            item.insert("dueBucket".to_owned(), text(bucket_of(self.job_type(), self.job_id())));
            item.insert("dueAt".to_owned(), number(due_at.as_millisecond()));
        }
        Ok(item)
    }

    fn key(&self) -> Item {
        let (partition, sort_key) = match self {
            Self::Job(job) => (job.partition(), job.id().to_string()),
            Self::Segment(segment) => (segment.partition(), segment_key(segment.job_id(), segment.number())),
        };
        Item::from([("pk".to_owned(), partition_key(partition)), ("sk".to_owned(), text(sort_key))])
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Job(_) => JOB,
            Self::Segment(_) => SEGMENT,
        }
    }

    fn content(&self) -> Result<AttributeValue, PortError> {
        let content = match self {
            Self::Job(job) => serde_dynamo::to_attribute_value(job),
            Self::Segment(segment) => serde_dynamo::to_attribute_value(segment),
        };
        content.map_err(|_| unreadable("store job", "it cannot be put into an item"))
    }

    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Job(job) => job.revision(),
            Self::Segment(segment) => segment.revision(),
        }
    }

    fn expires_at(&self) -> Timestamp {
        match self {
            Self::Job(job) => job.expires_at(),
            Self::Segment(segment) => segment.expires_at(),
        }
    }

    fn due_at(&self) -> Option<Timestamp> {
        match self {
            Self::Job(job) => job.due_at(),
            Self::Segment(segment) => segment.due_at(),
        }
    }

    fn job_type(&self) -> JobType {
        match self {
            Self::Job(job) => job.job_type(),
            // Only exports have segments.
            Self::Segment(_) => JobType::Export,
        }
    }

    fn job_id(&self) -> &JobId {
        match self {
            Self::Job(job) => job.id(),
            Self::Segment(segment) => segment.job_id(),
        }
    }
}

pub(super) fn read_job(item: Item) -> Result<Job, PortError> {
    let (job, revision, due_at) = content::<Job>(item, JOB)?;
    Ok(job.restored(revision, due_at))
}

pub(super) fn read_segment(item: Item) -> Result<Segment, PortError> {
    let (segment, revision, due_at) = content::<Segment>(item, SEGMENT)?;
    Ok(segment.restored(revision, due_at))
}

/// What an item holds, its revision, and when it is due.
fn content<T: DeserializeOwned>(mut item: Item, name: &str) -> Result<(T, u64, Option<Timestamp>), PortError> {
    check_version("read job", &item)?;
    let broken = || unreadable("read job", "item cannot be read");
    let revision = read_number(&item, "revision").ok_or_else(broken)?;
    let due_at = item.get("dueAt").map(|due_at| milliseconds(due_at).ok_or_else(broken)).transpose()?;
    let content = item.remove(name).ok_or_else(broken)?;
    let content = serde_dynamo::from_attribute_value(content).map_err(|_| broken())?;
    Ok((content, revision, due_at))
}

/// The sort key of a segment: behind its job's, and before any other job's.
pub(super) fn segment_key(id: &JobId, number: u8) -> String {
    format!("{id}#{number:02}")
}

pub(super) fn sort_key(target: &Target) -> String {
    match target.segment {
        None => target.job_id.to_string(),
        Some(number) => segment_key(&target.job_id, number),
    }
}

/// What a sort key names.
pub(super) fn target(sort_key: &str) -> Option<Target> {
    match sort_key.split_once('#') {
        None => Some(Target { job_id: sort_key.parse().ok()?, segment: None }),
        Some((id, number)) => Some(Target { job_id: id.parse().ok()?, segment: Some(number.parse().ok()?) }),
    }
}

pub(super) fn milliseconds(value: &AttributeValue) -> Option<Timestamp> {
    Timestamp::from_millisecond(value.as_n().ok()?.parse().ok()?).ok()
}

pub(super) fn bucket_name(job_type: JobType, bucket: u64) -> String {
    format!("{}#{bucket}", job_type.as_str())
}

fn bucket_of(job_type: JobType, id: &JobId) -> String {
    // The last character of the id is random.
    let last = id.as_str().bytes().last().unwrap_or_default();
    bucket_name(job_type, u64::from(last) % BUCKETS_PER_TYPE)
}
