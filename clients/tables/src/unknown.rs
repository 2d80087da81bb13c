//! Columns that the type does not define.

use serde::{Deserialize, Serialize};

/// What to do with a column that the type does not define.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownColumns {
    /// Refuse the file.
    #[default]
    Error,
    /// Keep it as a member with text.
    Keep,
    /// Leave it out.
    Drop,
}

impl UnknownColumns {
    /// Every choice, its name, and what it means.
    pub const ALL: [(Self, &str, &str); 3] = [
        (Self::Error, "error", "Refuse the file"),
        (Self::Keep, "keep", "Keep it as a member with text"),
        (Self::Drop, "drop", "Leave it out"),
    ];
}
