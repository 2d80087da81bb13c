//! The end of a file: what is left is sent, and the chunks are put together.

use model::{AssemblyState, FailureReason, ObjectKey, Position, Token};
use ports::PortError;

use super::plan::FilePlan;
use super::{ExportRun, Out};
use crate::driver::WorkError;
use crate::files::{AssembledFile, Assembly, AssemblyError, MAX_ASSEMBLIES};

/// What came of making a file visible.
pub(super) enum Made {
    Visible(ObjectKey, AssembledFile),
    /// There is nothing in it, and no file needed.
    Empty,
    /// Something of it is gone.
    Gone,
}

impl ExportRun<'_> {
    /// Makes the file visible: written whole if it never filled a chunk, else put together. What may not
    /// be empty, and is, has no file.
    pub(super) async fn make_visible(
        &mut self,
        out: &mut Out,
        position: &Position,
        plan: &FilePlan,
    ) -> Result<Made, WorkError> {
        if !out.file.is_chunked() {
            if out.file.appended() == 0 && !plan.may_be_empty() {
                return Ok(Made::Empty);
            }
            let key = self.key(plan, self.guard.token());
            let file = out.file.put_whole(&key).await?;
            return Ok(Made::Visible(key, file));
        }
        let mut state = match self.assembly() {
            Some(state) => state.clone(),
            None => {
                self.send_rest(out, position.clone()).await?;
                self.begin_assembly(plan, 0).await?
            }
        };
        loop {
            let AssemblyState { key, upload, earlier, .. } = state;
            let assembly = Assembly {
                file: &out.file,
                store: &self.worker.multipart,
                ids: &self.worker.driver.ids,
                key: &key,
                upload: &upload,
                deadlines: self.deadlines,
            };
            match assembly.run(|copied| self.copied(copied)).await {
                Ok(file) => return Ok(Made::Visible(key, file)),
                Err(AssemblyError::UploadGone) if earlier + 1 < MAX_ASSEMBLIES => {
                    self.guard.renew().await;
                    state = self.begin_assembly(plan, earlier + 1).await?;
                }
                Err(AssemblyError::UploadGone) => {
                    self.guard.renew().await;
                    return Err(WorkError::Impossible(FailureReason::FileLost));
                }
                Err(AssemblyError::ChunkMissing) => return Ok(Made::Gone),
                Err(AssemblyError::TimeOver) => return Err(WorkError::TimeOver),
                Err(AssemblyError::Port(error)) => return Err(error.into()),
            }
        }
    }

    /// Sends what is left as the last chunk, and waits until all have arrived.
    async fn send_rest(&mut self, out: &mut Out, position: Position) -> Result<(), WorkError> {
        while out.file.has_lines() && !out.file.has_room() {
            self.next_sent(out).await?;
        }
        if out.file.has_lines() {
            out.cut(position)?;
        }
        while out.file.in_flight() > 0 {
            self.next_sent(out).await?;
        }
        self.checkpoint_file(out.file.arrived().clone(), None);
        // What was promised is compared: what was appended is in the chunks.
        if out.file.arrived().records != out.file.appended() {
            return Err(PortError::defect("write file", "records in chunks differ from records appended").into());
        }
        Ok(())
    }

    async fn next_sent(&mut self, out: &mut Out) -> Result<(), WorkError> {
        let no_answer = || PortError::unavailable("write chunk", "no answer in time");
        let sent = out.chunks.next(self.deadlines.ends).await.ok_or_else(no_answer)?;
        self.sent(out, sent?);
        Ok(())
    }

    /// Begins a multipart upload and stores its id with the whole list of chunks, before anything is copied: from then on
    /// the list does not change.
    async fn begin_assembly(&mut self, plan: &FilePlan, earlier: u32) -> Result<AssemblyState, WorkError> {
        let token = Token::new(self.worker.driver.ids.random());
        let (partition, key) = (self.guard.job().partition(), self.key(plan, &token));
        self.guard.may_call().await;
        let upload = self.worker.multipart.begin(partition, &key).await?;
        let state = AssemblyState { key, upload, copied: 0, earlier };
        if let Some(open) = &mut self.checkpoint.open {
            open.assembly = Some(state.clone());
        }
        self.save().await;
        Ok(state)
    }

    pub(super) fn assembly(&self) -> Option<&AssemblyState> {
        self.checkpoint.open.as_ref()?.assembly.as_ref()
    }

    fn copied(&mut self, copied: u32) {
        if let Some(assembly) = self.checkpoint.open.as_mut().and_then(|open| open.assembly.as_mut()) {
            assembly.copied = copied;
        }
        self.hand_over();
    }
}
