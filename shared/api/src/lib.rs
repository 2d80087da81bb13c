//! What a call of the API does, without HTTP: authenticate, accept a job, create an upload, list, cancel and delete.

mod accepting;
mod authenticate;
mod links;
mod managing;
mod uploads;

pub use accepting::{
    AcceptJobError, Accepted, ExportRequest, ExportStarter, ImportData, ImportRequest, ImportStarter, JobAcceptor,
};
pub use authenticate::{AuthenticationError, Authenticator};
pub use links::{DOWNLOAD_LIFETIME, LINK_LIFETIME};
pub use managing::{JobFilter, JobLister, JobManager, JobPage, MAX_PAGE, ManageJobError, parse_cursor};
pub use uploads::{CreateUploadError, Uploader};
