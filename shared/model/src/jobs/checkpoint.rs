//! Where work on a job goes on. What is in it is the matter of whoever works.

use serde::{Deserialize, Serialize};

use super::ExportCheckpoint;

/// Where work on a job goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "a job holds it in a box")]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Checkpoint {
    /// An import goes on where its progress stands.
    Import {
        /// The last line that its worker had begun to write: what follows is certainly not stored.
        begun: u64,
    },
    Export(ExportCheckpoint),
}

impl Checkpoint {
    /// Whether work is further than at `earlier`: more chunks, records, parts copied or whole files. A cursor alone, or
    /// a line that was begun, is no advance.
    #[must_use]
    pub fn has_advanced_from(&self, earlier: Option<&Self>) -> bool {
        match (self, earlier) {
            (Self::Import { .. }, _) => false,
            (Self::Export(reached), Some(Self::Export(earlier))) => reached.measure() > earlier.measure(),
            (Self::Export(_), _) => true,
        }
    }

    /// Whether anything was read since `earlier`, also where nothing of it was kept: that is no advance, and no stall.
    #[must_use]
    pub fn has_moved_from(&self, earlier: Option<&Self>) -> bool {
        let position = |checkpoint: &'_ Self| match checkpoint {
            Self::Export(export) => export.open.as_ref().map(|open| open.position.reached()),
            Self::Import { .. } => None,
        };
        position(self).is_some_and(|reached| reached != earlier.and_then(position).unwrap_or_default())
    }

    /// The last line that an import had begun to write.
    #[must_use]
    pub fn begun(&self) -> u64 {
        match self {
            Self::Import { begun } => *begun,
            Self::Export(_) => 0,
        }
    }

    /// The checkpoint of an export.
    #[must_use]
    pub fn export(&self) -> Option<&ExportCheckpoint> {
        match self {
            Self::Export(checkpoint) => Some(checkpoint),
            Self::Import { .. } => None,
        }
    }
}
