//! Finishing an export: put the file together of the segments' parts and tails.

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use crate::hold::Hold;
use crate::ids::Partition;
use crate::job::{ExportPlan, FailureReason, Job, JobResult, Progress};
use crate::layout::CLOSING_PART;
use crate::metrics::METRICS;
use crate::ports::{Fetched, PortError, UploadError, UploadedPart};
use crate::segment::{Segment, SegmentState};
use crate::worker::{WorkError, Worker};

impl Worker {
    /// Makes the file visible, whole. Done twice it makes the same file of the same bytes.
    pub(in crate::worker) async fn finish_export(
        &self,
        hold: &Hold<Job>,
        job: &Job,
    ) -> Result<(JobResult, Progress), WorkError> {
        let partition = job.partition();
        let stored = self.jobs.with_segments(partition, job.id(), self.clock.now()).await?;
        let (Some(plan), Some((_, segments))) = (job.plan(), stored) else { return Err(WorkError::LeaseLost) };
        let tails = self.tails(partition, &segments).await?;
        let mut parts: Vec<_> = segments.iter().flat_map(|segment| segment.checkpoint().parts.clone()).collect();
        let size = segments.iter().map(|segment| segment.checkpoint().bytes).sum();
        hold.check()?;
        if parts.is_empty() {
            self.objects.put(partition, &plan.file, tails).await?;
            if let Err(error) = self.objects.abort(partition, &plan.file, &plan.upload).await {
                tracing::warn!(job_id = %job.id(), error = &error as &dyn std::error::Error, "abort upload");
            }
        } else {
            let completed = self.complete(partition, plan, &mut parts, tails, size).await;
            if matches!(completed, Err(UploadError::Ended)) {
                self.check_completed(partition, plan, size).await?;
            } else {
                completed?;
            }
        }
        tracing::info!(target: METRICS, job_type = "export", job_id = %job.id(), file_bytes = size);
        let processed = segments.iter().map(|segment| segment.checkpoint().processed).sum();
        let result = JobResult::Export { file: plan.file.clone(), started_reading_at: plan.started_reading_at };
        Ok((result, Progress { total: processed, processed, ..Progress::default() }))
    }

    /// The tails, joined in the order of their segments: the same bytes every time.
    async fn tails(&self, partition: &Partition, segments: &[Segment]) -> Result<Bytes, WorkError> {
        let mut joined = BytesMut::new();
        for segment in segments {
            let SegmentState::Done { tail } = segment.state() else {
                let cause = "segment is not done".into();
                return Err(PortError::Defect { operation: "finish export", cause }.into());
            };
            let Some(tail) = tail else { continue };
            let Fetched::Content(content) = self.objects.get(partition, tail, None).await? else {
                return Err(WorkError::Impossible(FailureReason::FileLost));
            };
            for piece in content.try_collect::<Vec<_>>().await? {
                joined.extend_from_slice(&piece);
            }
        }
        Ok(joined.freeze())
    }

    async fn complete(
        &self,
        partition: &Partition,
        plan: &ExportPlan,
        parts: &mut Vec<UploadedPart>,
        tails: Bytes,
        size: u64,
    ) -> Result<(), UploadError> {
        if !tails.is_empty() {
            let closing = self.objects.upload_part(partition, &plan.file, &plan.upload, CLOSING_PART, tails).await?;
            parts.push(closing);
        }
        self.objects.complete(partition, &plan.file, &plan.upload, parts, size).await
    }

    /// An upload that has ended was completed by an earlier try, if the file is there in its full length.
    async fn check_completed(&self, partition: &Partition, plan: &ExportPlan, size: u64) -> Result<(), WorkError> {
        match self.objects.head(partition, &plan.file).await? {
            Some(head) if head.size == size => Ok(()),
            Some(_) | None => Err(WorkError::Impossible(FailureReason::FileLost)),
        }
    }
}
