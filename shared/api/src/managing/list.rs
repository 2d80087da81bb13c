//! Listing jobs, page by page.

use std::sync::Arc;

use model::{Job, JobId, JobType, Partition, sha256_hex};
use ports::{Clock, JobStore, ListedJobs, PortError};
use records::ResourceType;

/// The most jobs of a page (openapi.yaml).
pub const MAX_PAGE: usize = 100;

/// How many jobs one call looks at, at most: with a filter that few jobs pass, a page may be short or empty, and the
/// cursor goes on after what was looked at.
const MAX_LOOKED_AT: usize = 1_000;

/// Which jobs are listed. An empty list lets everything pass.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of [`JobState::NAMES`](model::JobState::NAMES).
    pub statuses: Vec<&'static str>,
    pub job_types: Vec<JobType>,
    /// Those about any of these.
    pub resource_types: Vec<ResourceType>,
}

impl JobFilter {
    fn passes(&self, job: &Job) -> bool {
        let Self { statuses, job_types, resource_types } = self;
        (statuses.is_empty() || statuses.contains(&job.state().name()))
            && (job_types.is_empty() || job_types.contains(&job.job_type()))
            && (resource_types.is_empty() || job.spec().resource_types().iter().any(|of| resource_types.contains(of)))
    }

    fn is_empty(&self) -> bool {
        self.statuses.is_empty() && self.job_types.is_empty() && self.resource_types.is_empty()
    }
}

/// Where a list goes on: after a job. It names its partition by a hash, so that one of another partition is told as
/// such; what is listed is the caller's own in any case.
fn cursor(partition: &Partition, after: &JobId) -> String {
    let mut check = sha256_hex(&[partition.to_string().as_bytes(), after.as_str().as_bytes()]);
    check.truncate(16);
    format!("{}.{check}", after.as_str().trim_start_matches("job_"))
}

/// The job that the list goes on after; `None` when the text is no cursor of the partition.
#[must_use]
pub fn parse_cursor(text: &str, partition: &Partition) -> Option<JobId> {
    let (id, _check) = text.split_once('.')?;
    let id: JobId = format!("job_{id}").parse().ok()?;
    (cursor(partition, &id) == text).then_some(id)
}

/// Some jobs, newest first.
#[derive(Debug)]
pub struct JobPage {
    pub jobs: Vec<Job>,
    /// The cursor of where the list goes on; `None` at its end.
    pub next: Option<String>,
}

/// Lists jobs.
pub struct JobLister {
    pub jobs: Arc<dyn JobStore>,
    pub clock: Arc<dyn Clock>,
}

impl JobLister {
    /// The next `count` jobs of the partition that pass the filter, newest first.
    pub async fn list(
        &self,
        partition: &Partition,
        filter: &JobFilter,
        after: Option<JobId>,
        count: usize,
    ) -> Result<JobPage, PortError> {
        let now = self.clock.now();
        // One more than asked for shows whether there are more.
        let limit = if filter.is_empty() { count + 1 } else { MAX_PAGE };
        let (mut jobs, mut after, mut looked_at) = (Vec::new(), after, 0);
        loop {
            let ListedJobs { jobs: listed, next } = self.jobs.list(partition, after.as_ref(), now, limit).await?;
            // Also at those that are deleted or expired, which are not listed.
            looked_at += limit;
            jobs.extend(listed.into_iter().filter(|job| filter.passes(job)));
            after = next;
            if jobs.len() > count || after.is_none() || looked_at >= MAX_LOOKED_AT {
                break;
            }
        }
        if jobs.len() > count {
            jobs.truncate(count);
            after = jobs.last().map(|last| last.id().clone());
        }
        let next = after.map(|after| cursor(partition, &after));
        Ok(JobPage { jobs, next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_cursor_belongs_to_its_partition() {
        let partition = |text: &str| text.parse::<Partition>().unwrap();
        let id = JobId::new(Timestamp::UNIX_EPOCH, 7);
        let cursor = cursor(&partition("clinic#test"), &id);
        assert_eq!(parse_cursor(&cursor, &partition("clinic#test")), Some(id));
        for (text, of) in [(cursor.as_str(), "clinic#live"), (cursor.as_str(), "other#test"), ("", "clinic#test")] {
            assert_eq!(parse_cursor(text, &partition(of)), None, "{text} {of}");
        }
        let forged = cursor.replacen('0', "1", 1);
        assert_eq!(parse_cursor(&forged, &partition("clinic#test")), None);
    }
}
