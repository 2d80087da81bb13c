//! Brings a batch up to the point where its job runs, once, whatever happened before.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{Context, Result};
use clinikapi::{ApiError, UploadFate};
use serde_json::json;

use super::driver::{Driver, Start};
use crate::failure::mismatch;
use crate::plan::{BatchPlan, ImportRequest};
use crate::state::BatchState;

/// An upload that the store refuses is made anew so often.
const UPLOADS: u32 = 3;

impl Driver<'_> {
    /// Brings a batch up to the point where its job runs.
    pub(super) fn start(&mut self, batch: &BatchPlan) -> Result<Start> {
        let (upload_id, key) = match self.state(batch)? {
            BatchState::Starting { upload_id, key } => (upload_id, key),
            BatchState::Uploaded { upload_id } => self.prepare(batch, Some(upload_id))?,
            _ => match self.started_before(batch)? {
                Some(job_id) => return self.started(batch, &job_id),
                None => self.prepare(batch, None)?,
            },
        };
        let body = json!({"resourceType": batch.resource_type.as_str(), "uploadId": upload_id,
            "label": batch_label(self.request, batch.number)});
        let error = match self.client.start("/v1/bulk/import", &body, &key) {
            Ok(job_id) => return self.started(batch, &job_id),
            Err(error) => error,
        };
        if let Some(after) = error.slot_in() {
            return Ok(Start::NoSlot(after));
        }
        if let Some(fate) = error.upload_fate() {
            return self.start_by_fate(batch, fate, error);
        }
        match &error {
            ApiError::Refused(refused) if refused.code.ends_with("QUOTA_EXCEEDED") => {
                Ok(Start::MonthUsedUp(error.to_string()))
            }
            _ => Err(error.into()),
        }
    }

    /// The upload cannot be imported. An earlier try may have been accepted, and its key be forgotten since; only an upload
    /// that has expired unused, or holds nothing, proves that it was not.
    fn start_by_fate(&mut self, batch: &BatchPlan, fate: UploadFate, error: ApiError) -> Result<Start> {
        match fate {
            UploadFate::UsedBy(job_id) => return self.started(batch, &job_id),
            UploadFate::Expired | UploadFate::Empty => {}
            UploadFate::Unknown => {
                if let Some(job_id) = self.find_started(batch)? {
                    return self.started(batch, &job_id);
                }
                if batch.without_id > 0 {
                    anyhow::bail!(
                        "batch {}: the service knows neither its upload nor a job of it any more. Whether it was imported cannot \
                         be told, and {} of its records have no id, so that importing them again could store them twice. \
                         Look for them in the service, and import what is missing anew",
                        batch.number,
                        batch.without_id
                    );
                }
            }
        }
        if !self.memory.renewed.insert(batch.number) {
            return Err(error.into());
        }
        self.restart(batch)?;
        self.start(batch)
    }

    /// An uploaded batch, and the key of its start, written down.
    fn prepare(&mut self, batch: &BatchPlan, uploaded: Option<String>) -> Result<(String, String)> {
        let upload_id = uploaded.map_or_else(|| self.upload(batch), Ok)?;
        let key = clinikapi::new_key()?;
        self.journal.record(batch.number, BatchState::Starting { upload_id: upload_id.clone(), key: key.clone() })?;
        Ok((upload_id, key))
    }

    fn upload(&mut self, batch: &BatchPlan) -> Result<String> {
        let path = self.folder.batch(batch.number);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let bytes = file.metadata().context("look at batch")?.len();
        if bytes != batch.bytes {
            return Err(mismatch(format!("{} is not as the plan left it", path.display())));
        }
        let mut made = 0;
        let upload_id = loop {
            let upload = match self.memory.uploads.remove(&batch.number) {
                Some(upload) => upload,
                None => {
                    made += 1;
                    self.client.create_upload(bytes)?
                }
            };
            match self.client.put(&upload.upload_url, &file) {
                Ok(()) => break upload.upload_id,
                // Its URL may have expired.
                Err(ApiError::StoreRefused { .. }) if made < UPLOADS => {}
                Err(error) => {
                    if error.is_passing() {
                        self.memory.uploads.insert(batch.number, upload);
                    }
                    return Err(error.into());
                }
            }
        };
        self.journal.record(batch.number, BatchState::Uploaded { upload_id: upload_id.clone() })?;
        self.events.event(&json!({"event": "uploaded", "batch": batch.number, "bytes": bytes}))?;
        Ok(upload_id)
    }

    fn started(&mut self, batch: &BatchPlan, job_id: &str) -> Result<Start> {
        self.journal.record(batch.number, BatchState::Started { job_id: job_id.to_owned() })?;
        self.events.event(&json!({"event": "started", "batch": batch.number, "jobId": job_id,
            "resourceType": batch.resource_type.as_str(), "records": batch.records}))?;
        Ok(Start::Running)
    }

    /// The job of a batch of which the journal knows nothing: somebody may have put an older journal back. Records without ids
    /// would be stored twice.
    fn started_before(&mut self, batch: &BatchPlan) -> Result<Option<String>> {
        if !self.memory.is_resumed || batch.without_id == 0 {
            return Ok(None);
        }
        let mut jobs = match self.memory.started.take() {
            Some(jobs) => jobs,
            None => self.jobs_by_label()?,
        };
        let found = jobs.remove(&batch_label(self.request, batch.number));
        self.memory.started = Some(jobs);
        Ok(found)
    }

    /// The job that an earlier start has become, by its label.
    fn find_started(&self, batch: &BatchPlan) -> Result<Option<String>> {
        Ok(self.jobs_by_label()?.remove(&batch_label(self.request, batch.number)))
    }

    /// The imports that the service knows and the journal does not. All pages are read: no clock tells where to stop.
    fn jobs_by_label(&self) -> Result<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        let mut cursor = None;
        loop {
            let mut query = vec![("type", "import".to_owned()), ("count", "100".to_owned())];
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let (jobs, next) = self.client.jobs(&query)?;
            for raw in &jobs {
                let job = clinikapi::Client::parse_job(raw)?;
                if let Some(label) = job.label.filter(|_| job.kind == "import" && !self.journal.names(&job.id)) {
                    // The newest comes first.
                    found.entry(label).or_insert(job.id);
                }
            }
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(found),
            }
        }
    }
}

/// The label of a batch's job: by it the job is found when nothing else tells of it.
pub(crate) fn batch_label(request: &ImportRequest, number: usize) -> String {
    let own = request.label.as_deref().map(|label| format!("{label} ")).unwrap_or_default();
    format!("{own}{}.{number:04}", request.run)
}
