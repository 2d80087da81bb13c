//! Uploads that are meant to break the service: each has its answer, and none fills the memory.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::format_collect, reason = "test")]

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use engine::{Delivery, ImportWorker};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use in_process::jobs::{caller, deliver, import_of_upload};
use in_process::{Service, test_partition};
use model::{FailureReason, JobState, MultipartId, ObjectKey, Partition, Plan};
use ports::{Fetched, MultipartStore, ObjectHead, ObjectStore, PortError, UploadError, UploadedPart};

/// What one import may need beyond what the process has anyway: a goal for imports with many rejected lines.
const MOST: u64 = 48_000_000;

type Pieces = BoxStream<'static, Result<Bytes, PortError>>;

/// Gives the size of an upload and its pieces, each time anew.
type Content = Box<dyn Fn() -> (u64, Pieces) + Send + Sync>;

/// Gives out an upload that nobody has room for, and forgets what is written.
struct Malicious {
    content: Content,
    /// The highest part number so far.
    parts: AtomicU32,
    /// Of the file that was completed last.
    size: AtomicU64,
}

#[async_trait]
impl ObjectStore for Malicious {
    async fn put(&self, _: &Partition, _: &ObjectKey, _: Bytes) -> Result<(), PortError> {
        Ok(())
    }

    async fn get(&self, _: &Partition, _: &ObjectKey, _: Option<&str>, _: u64) -> Result<Fetched, PortError> {
        let (size, body) = (self.content)();
        Ok(Fetched::Content { etag: "etag".to_owned(), size, body })
    }

    async fn head(&self, _: &Partition, _: &ObjectKey) -> Result<Option<ObjectHead>, PortError> {
        Ok(Some(ObjectHead { size: self.size.load(Ordering::Relaxed), etag: "etag".to_owned() }))
    }
}

#[async_trait]
impl MultipartStore for Malicious {
    async fn begin(&self, _: &Partition, _: &ObjectKey) -> Result<MultipartId, PortError> {
        Ok(MultipartId("malicious".to_owned()))
    }

    async fn copy_part(
        &self,
        _: &Partition,
        _: &ObjectKey,
        _: &MultipartId,
        number: u32,
        _: &ObjectKey,
    ) -> Result<(), UploadError> {
        self.parts.fetch_max(number, Ordering::Relaxed);
        Ok(())
    }

    async fn list_parts(
        &self,
        _: &Partition,
        _: &ObjectKey,
        _: &MultipartId,
    ) -> Result<Vec<UploadedPart>, UploadError> {
        Ok((1..=self.parts.load(Ordering::Relaxed))
            .map(|number| UploadedPart { number, etag: "etag".to_owned() })
            .collect())
    }

    async fn complete(
        &self,
        _: &Partition,
        _: &ObjectKey,
        _: &MultipartId,
        _: &[UploadedPart],
        size: u64,
    ) -> Result<(), UploadError> {
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }
}

/// The same piece again and again.
fn repeated(piece: impl Into<Bytes>, times: usize) -> (u64, Pieces) {
    let piece = piece.into();
    let size = (piece.len() as u64).saturating_mul(times as u64);
    (size, stream::iter((0..times).map(move |_| Ok(piece.clone()))).boxed())
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// The most memory the process has had since it was last forgotten, in bytes. Linux alone tells; elsewhere the
/// answers are checked, and the memory is not.
fn peak() -> u64 {
    if !cfg!(target_os = "linux") {
        return 0;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1_024
}

fn forget_peak() {
    if !cfg!(target_os = "linux") {
        return;
    }
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// What comes of an import of these bytes: the delivery, the status, and how many records were read and rejected.
async fn import(content: impl Fn() -> (u64, Pieces) + Send + Sync + 'static) -> (Delivery, &'static str, u64, u64) {
    let service = Service::start().await;
    let who = caller(Plan::Enterprise);
    let (upload, _) = service.uploader().create(&who, 100).await.unwrap();
    service.memory.put_object(&ObjectKey::upload(&test_partition(), &upload), "{}\n");
    let id = service.begin(&who, import_of_upload(upload)).await;
    let objects = Arc::new(Malicious { content: Box::new(content), parts: AtomicU32::new(0), size: AtomicU64::new(0) });
    let multipart = Arc::clone(&objects);
    let worker = ImportWorker { objects, multipart, ..service.import_worker() };
    let delivery = deliver(&worker, &id).await;
    let job = service.job(&id).await;
    let state = match job.state() {
        JobState::Failed(reason) => reason.code(),
        state => state.name(),
    };
    (delivery, state, job.progress().processed, job.progress().failed)
}

#[tokio::test(start_paused = true)]
async fn no_input_fills_the_memory() {
    use FailureReason::{TooManyRecords, UploadTooLarge, UploadUnreadable};

    const MIB: usize = 1 << 20;
    let done = |read, rejected| (Delivery::Done, "completed", read, rejected);
    let failed = |reason: FailureReason| (Delivery::Done, reason.code(), 0, 0);
    let deep = format!("{}\n", "[".repeat(10 * MIB));
    let deep_object = format!("{}\n", "{\"a\":".repeat(MIB));
    let members: String = (0..400_000).map(|n| format!("\"m{n}\":0,")).collect();
    let many_members = format!("{{{members}\"firstName\":\"J\",\"lastName\":\"D\"}}\n");
    let same_members = format!("{{{}\"firstName\":\"J\",\"lastName\":\"D\"}}\n", "\"a\":0,".repeat(500_000));
    let faulty = format!("{{\"contact\":[{}]}}\n", ["{\"email\":0,\"phone\":0,\"firstName\":[]}"; 10].join(","));
    let bomb = gzip(&vec![0; 10 * MIB]);
    let line_bomb = gzip(&vec![b'\n'; 10 * MIB]);
    let cases: Vec<(&str, Content, _)> = vec![
        ("a bomb of 100 GB", Box::new(move || repeated(bomb.clone(), 10_000)), failed(UploadTooLarge)),
        ("a bomb of lines", Box::new(move || repeated(line_bomb.clone(), 10_000)), failed(UploadTooLarge)),
        ("no gzip", Box::new(|| repeated(&[0x1F, 0x8B, 0, 0, 0, 0][..], 1_000)), failed(UploadUnreadable)),
        ("plain, and endless", Box::new(|| repeated(vec![b'x'; MIB], usize::MAX)), failed(UploadTooLarge)),
        ("one line of 100 MiB", Box::new(|| repeated(vec![b'x'; MIB], 100)), done(1, 1)),
        (
            "one string of 99 MiB",
            Box::new(|| {
                let (size, rest) = repeated(vec![b'x'; MIB], 99);
                (size + 6, stream::once(async { Ok("{\"a\":\"".into()) }).chain(rest).boxed())
            }),
            done(1, 1),
        ),
        ("empty lines", Box::new(|| repeated(vec![b'\n'; MIB], 100)), failed(TooManyRecords)),
        ("deep arrays", Box::new(move || repeated(deep.clone(), 9)), done(9, 9)),
        ("deep objects", Box::new(move || repeated(deep_object.clone(), 19)), done(19, 19)),
        ("many members", Box::new(move || repeated(many_members.clone(), 10)), done(10, 10)),
        ("one member many times", Box::new(move || repeated(same_members.clone(), 10)), done(10, 10)),
        ("ten thousand lines of many faults", Box::new(move || repeated(faulty.clone(), 10_000)), done(10_000, 10_000)),
        ("no UTF-8", Box::new(|| repeated(&b"{\"firstName\":\"\xFF\xC0\x80\"}\n"[..], 10_000)), done(10_000, 10_000)),
        ("zero bytes", Box::new(|| repeated(vec![0; MIB], 100)), done(1, 1)),
        ("a byte at a time", Box::new(|| repeated(&b"{"[..], 100_000)), done(1, 1)),
        (
            "a body that breaks",
            Box::new(|| {
                let broken = || Err(PortError::unavailable("read object", "broken"));
                (100, stream::once(async move { broken() }).boxed())
            }),
            (Delivery::Deferred, "processing", 0, 0),
        ),
    ];
    let before = peak();
    for (name, content, expected) in cases {
        forget_peak();
        let came = import(content).await;
        let needed = peak() - before;
        assert_eq!(came, expected, "{name}");
        assert!(needed <= MOST, "{name} needed {needed} bytes");
    }
}
