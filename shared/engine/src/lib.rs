//! What happens after the 202: a worker acquires the job's lease, imports or exports, and writes down what came of it;
//! the sweeper sends what nobody looks after; an operator deletes one record. Knows no HTTP and no AWS: the ports are handed in.

mod deleting;
mod driver;
mod exporting;
mod files;
mod importing;
mod sweeping;

pub use deleting::{RecordDeleter, SecondLook};
pub use driver::{Delivery, JobDriver, JobWorker};
pub use exporting::ExportWorker;
pub use importing::ImportWorker;
pub use sweeping::{Sweeper, Swept};
