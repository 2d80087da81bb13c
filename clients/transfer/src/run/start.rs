//! Brings a batch up to the point where its job runs, once, whatever happened before.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context, Result};
use clinikapi::ApiError;
use jiff::Timestamp;
use serde_json::json;

use super::driver::Driver;
use crate::failure::Failure;
use crate::plan::{BatchPlan, ImportRequest};
use crate::state::{BatchState, Step};

/// An idempotency key is good for 24 hours, and an upload can be imported for as long; with a margin.
const KEY_HOURS: i64 = 23;
/// Jobs are kept for 7 days; with a margin.
const JOB_HOURS: i64 = 6 * 24;

/// What starting a batch came to.
pub(super) enum Start {
    Running,
    /// The limit's next slot is so far away.
    NoSlot(Duration),
    MonthUsedUp(String),
}

impl Driver<'_> {
    /// Brings a batch up to the point where its job runs.
    pub(super) fn start(&mut self, batch: &BatchPlan) -> Result<Start> {
        let (upload_id, key) = match self.state(batch)? {
            BatchState::Starting { upload_id, key, at } => {
                if age_in_hours(at) >= KEY_HOURS
                    && let Some(found) = self.find_started(batch, at)?
                {
                    return self.started(batch, &found);
                }
                if age_in_hours(at) >= KEY_HOURS { self.prepare(batch, None)? } else { (upload_id, key) }
            }
            BatchState::Uploaded { upload_id, at } if age_in_hours(at) < KEY_HOURS => {
                self.prepare(batch, Some(upload_id))?
            }
            _ => self.prepare(batch, None)?,
        };
        let body = json!({"resourceType": batch.resource_type.as_str(), "uploadId": upload_id,
            "label": batch_label(self.request, batch.number)});
        match self.client.start("/v1/bulk/import", &body, &key) {
            Ok(job_id) => self.started(batch, &job_id),
            Err(error) => {
                if let Some(after) = error.slot_in() {
                    return Ok(Start::NoSlot(after));
                }
                // A replay comes before the upload is looked at: under this key nothing was ever accepted. The
                // upload has expired, and a new one is made.
                if error.is_about_upload() && self.renewed.insert(batch.number) {
                    self.journal.record(batch.number, Step::Restarted)?;
                    return self.start(batch);
                }
                match &error {
                    ApiError::Refused(refused) if refused.code.ends_with("QUOTA_EXCEEDED") => {
                        Ok(Start::MonthUsedUp(error.to_string()))
                    }
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// An uploaded batch, and the key of its start, written down.
    fn prepare(&mut self, batch: &BatchPlan, uploaded: Option<String>) -> Result<(String, String)> {
        let upload_id = match uploaded {
            Some(upload_id) => upload_id,
            None => self.upload(batch)?,
        };
        let key = clinikapi::new_key()?;
        self.journal.record(batch.number, Step::Starting { upload_id: upload_id.clone(), key: key.clone() })?;
        Ok((upload_id, key))
    }

    fn upload(&mut self, batch: &BatchPlan) -> Result<String> {
        let path = self.folder.batch(batch.number);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let bytes = file.metadata().context("look at batch")?.len();
        if bytes != batch.bytes {
            return Err(Failure::Mismatch(format!("{} is not as the plan left it", path.display())).into());
        }
        let upload = self.client.create_upload(bytes)?;
        let upload_id = upload.upload_id;
        self.journal.record(batch.number, Step::UploadCreated { upload_id: upload_id.clone() })?;
        self.client.put(&upload.upload_url, &file).map_err(|error| match error {
            // A later try gets a new URL.
            ApiError::Gone(status) => ApiError::Network(format!("the upload was refused with HTTP {status}")),
            error => error,
        })?;
        self.journal.record(batch.number, Step::Uploaded { upload_id: upload_id.clone() })?;
        self.events.event(&json!({"event": "uploaded", "batch": batch.number, "bytes": bytes}))?;
        Ok(upload_id)
    }

    fn started(&mut self, batch: &BatchPlan, job_id: &str) -> Result<Start> {
        self.journal.record(batch.number, Step::Started { job_id: job_id.to_owned() })?;
        self.events.event(&json!({"event": "started", "batch": batch.number, "jobId": job_id,
            "resourceType": batch.resource_type.as_str(), "records": batch.records}))?;
        Ok(Start::Running)
    }

    /// The job that a start of long ago may have become. Its key says nothing any more, its label does.
    fn find_started(&self, batch: &BatchPlan, at: Timestamp) -> Result<Option<String>> {
        if age_in_hours(at) >= JOB_HOURS && batch.without_id > 0 {
            anyhow::bail!(
                "batch {}: its import was started {} hours ago, and jobs are not kept that long. Whether it ran cannot be told, \
                 and {} of its records have no id, so that importing them again could store them twice. Look for them \
                 in the service, and import what is missing anew",
                batch.number,
                age_in_hours(at),
                batch.without_id
            );
        }
        let label = batch_label(self.request, batch.number);
        let mut cursor = None;
        loop {
            let mut query = vec![("type", "import".to_owned()), ("count", "100".to_owned())];
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let (jobs, next) = self.client.jobs(&query)?;
            for raw in &jobs {
                let job = clinikapi::Client::parse_job(raw)?;
                if job.label.as_deref() == Some(&label) {
                    return Ok(Some(job.id));
                }
                // Newest first: what is older than the start cannot be of it. An hour allows for another clock.
                let created: Option<Timestamp> = job.created_at.parse().ok();
                if created.is_some_and(|created| created < at - jiff::SignedDuration::from_hours(1)) {
                    return Ok(None);
                }
            }
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(None),
            }
        }
    }
}

fn age_in_hours(at: Timestamp) -> i64 {
    Timestamp::now().duration_since(at).as_hours()
}

/// The label of a batch's job: by it the job is found when nothing else tells of it.
pub(crate) fn batch_label(request: &ImportRequest, number: usize) -> String {
    let own = request.label.as_deref().map(|label| format!("{label} ")).unwrap_or_default();
    format!("{own}{}.{number:04}", request.run)
}
