//! What an object store does.

use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use model::{Compression, FileName, JobId, KeyPrefix, ObjectKey, Token};
use ports::{Fetched, FileRemover, IdSource, MultipartStore, ObjectStore, UploadError, UploadedPart, UrlSigner};

use super::Fixture;

/// Whatever keeps files.
pub trait Objects: ObjectStore + MultipartStore + FileRemover + UrlSigner {}

impl<T: ObjectStore + MultipartStore + FileRemover + UrlSigner> Objects for T {}

/// Runs all behaviours of [`Objects`].
pub async fn objects(objects: &dyn Objects, seed: u64, now: Timestamp) {
    an_object_is_read_as_it_was_written(objects, &Fixture::new(seed, now)).await;
    a_pinned_content_is_read_or_none(objects, &Fixture::new(seed + 5, now)).await;
    chunks_become_visible_together(objects, &Fixture::new(seed + 1, now)).await;
    other_partitions_objects_are_refused(objects, &Fixture::new(seed + 3, now)).await;
    a_download_lasts_until_its_end(objects, &Fixture::new(seed + 4, now)).await;
    a_removal_takes_one_job_s_files(objects, &Fixture::new(seed + 6, now)).await;
}

async fn a_removal_takes_one_job_s_files(objects: &dyn Objects, fixture: &Fixture) {
    let (partition, job) = (&fixture.partition, fixture.export_job(1));
    let key = |file| ObjectKey::export(partition, job.id(), &Token::new(1), file, Compression::None);
    let chunk = ObjectKey::chunk(&file_name(fixture, job.id()), &Token::new(1), Some(1));
    let other = file(fixture);
    for key in [&key(0), &key(1), &other, &chunk] {
        objects.put(partition, key, Bytes::from_static(b"x")).await.unwrap();
    }
    let upload = objects.begin(partition, &key(2)).await.unwrap();
    objects.copy_part(partition, &key(2), &upload, 1, &chunk).await.unwrap();
    let [files, chunks] = KeyPrefix::of_results(partition, job.id(), job.job_type());
    assert!(objects.remove(&fixture.live(), &files, &[]).await.is_err(), "another partition");
    assert_eq!(objects.remove(partition, &files, &[key(1)]).await.unwrap(), 2);
    assert_eq!(content(objects, fixture, &key(1)).await, Some(b"x".to_vec()), "kept");
    assert_eq!(objects.remove(partition, &files, &[]).await.unwrap(), 1);
    assert_eq!(objects.remove(partition, &files, &[]).await.unwrap(), 0);
    assert_eq!(content(objects, fixture, &chunk).await, Some(b"x".to_vec()), "chunks lie elsewhere");
    assert_eq!(objects.remove(partition, &chunks, &[]).await.unwrap(), 1);
    assert_eq!(
        (content(objects, fixture, &key(0)).await, content(objects, fixture, &other).await),
        (None, Some(b"x".to_vec()))
    );
    assert!(matches!(objects.list_parts(partition, &key(2), &upload).await, Err(UploadError::Ended)));
}

fn file_name(fixture: &Fixture, job: &JobId) -> FileName {
    FileName { partition: fixture.partition.clone(), job: job.clone(), file: "0".to_owned() }
}

fn file(fixture: &Fixture) -> ObjectKey {
    let job = JobId::new(fixture.now, fixture.ids.random());
    ObjectKey::export(&fixture.partition, &job, &Token::new(1), 0, Compression::None)
}

async fn content(objects: &dyn Objects, fixture: &Fixture, key: &ObjectKey) -> Option<Vec<u8>> {
    match objects.get(&fixture.partition, key, None, 0).await.unwrap() {
        Fetched::Content { body, .. } => Some(body.try_collect::<Vec<Bytes>>().await.unwrap().concat()),
        Fetched::Missing => None,
        Fetched::Changed => panic!("no content was asked for"),
    }
}

async fn an_object_is_read_as_it_was_written(objects: &dyn Objects, fixture: &Fixture) {
    let key = file(fixture);
    assert_eq!(content(objects, fixture, &key).await, None);
    for bytes in [Bytes::from_static(b""), Bytes::from(vec![0xA5; 300_000])] {
        objects.put(&fixture.partition, &key, bytes.clone()).await.unwrap();
        assert_eq!(content(objects, fixture, &key).await.as_deref(), Some(bytes.as_ref()));
    }
}

async fn a_pinned_content_is_read_or_none(objects: &dyn Objects, fixture: &Fixture) {
    let (partition, key) = (&fixture.partition, file(fixture));
    assert_eq!(objects.head(partition, &key).await.unwrap(), None);
    objects.put(partition, &key, Bytes::from_static(b"first")).await.unwrap();
    let head = objects.head(partition, &key).await.unwrap().unwrap();
    assert_eq!(head.size, 5);
    let rest = objects.get(partition, &key, Some(&head.etag), 2).await.unwrap();
    let Fetched::Content { etag, size, body } = rest else { panic!("the content is as it was") };
    assert_eq!((etag, size), (head.etag.clone(), 5), "of the whole object");
    assert_eq!(body.try_collect::<Vec<Bytes>>().await.unwrap().concat(), b"rst", "from the third byte on");
    objects.put(partition, &key, Bytes::from_static(b"other")).await.unwrap();
    let changed = objects.get(partition, &key, Some(&head.etag), 0).await.unwrap();
    assert!(matches!(changed, Fetched::Changed));
    let signed = objects.sign_upload(partition, &key, 7, fixture.now, fixture.later(3_600)).await.unwrap();
    assert!(signed.expires_at <= fixture.later(3_600));
}

async fn chunks_become_visible_together(objects: &dyn Objects, fixture: &Fixture) {
    let (partition, key) = (&fixture.partition, file(fixture));
    let job = JobId::new(fixture.now, fixture.ids.random());
    let chunk = |number| ObjectKey::chunk(&file_name(fixture, &job), &Token::new(1), Some(number));
    let (large, tail) = (Bytes::from(vec![b'a'; 5 << 20]), Bytes::from_static(b"tail"));
    objects.put(partition, &chunk(1), large.clone()).await.unwrap();
    objects.put(partition, &chunk(2), tail.clone()).await.unwrap();
    let upload = objects.begin(partition, &key).await.unwrap();
    assert_eq!(objects.list_parts(partition, &key, &upload).await.unwrap(), []);
    for number in [2, 1, 1] {
        objects.copy_part(partition, &key, &upload, number, &chunk(number)).await.unwrap();
    }
    let missing = objects.copy_part(partition, &key, &upload, 3, &chunk(3)).await;
    assert!(matches!(missing, Err(UploadError::SourceMissing)), "{missing:?}");
    assert_eq!(content(objects, fixture, &key).await, None, "nothing is visible before it is whole");
    let listed = objects.list_parts(partition, &key, &upload).await.unwrap();
    assert_eq!(listed.iter().map(|part| part.number).collect::<Vec<_>>(), [1, 2]);
    let size = (5 << 20) + 4;
    let other = |part: &UploadedPart| UploadedPart { etag: "\"other\"".to_owned(), ..part.clone() };
    let wrong: Vec<_> = listed.iter().map(other).collect();
    let refused = objects.complete(partition, &key, &upload, &wrong, size).await;
    assert!(matches!(refused, Err(UploadError::InvalidPart)), "{refused:?}");
    objects.complete(partition, &key, &upload, &listed, size).await.unwrap();
    assert_eq!(content(objects, fixture, &key).await, Some([large, tail].concat()));
    let late = objects.copy_part(partition, &key, &upload, 2, &chunk(2)).await;
    assert!(matches!(late, Err(UploadError::Ended)), "{late:?}");
    let listed = objects.list_parts(partition, &key, &upload).await;
    assert!(matches!(listed, Err(UploadError::Ended)), "{listed:?}");
}

async fn other_partitions_objects_are_refused(objects: &dyn Objects, fixture: &Fixture) {
    let key = file(fixture);
    objects.put(&fixture.partition, &key, Bytes::from_static(b"x")).await.unwrap();
    let other = fixture.live();
    assert!(objects.get(&other, &key, None, 0).await.is_err());
    assert!(objects.put(&other, &key, Bytes::new()).await.is_err());
    assert!(
        objects.sign_download(&other, &key, ("x.ndjson", "text/plain"), fixture.now, fixture.later(60)).await.is_err()
    );
}

async fn a_download_lasts_until_its_end(objects: &dyn Objects, fixture: &Fixture) {
    let key = file(fixture);
    let sign = async |until| {
        objects
            .sign_download(&fixture.partition, &key, ("job_x.ndjson", "text/plain"), fixture.now, fixture.later(until))
            .await
            .unwrap()
    };
    let long = sign(3_600).await;
    // A store may count whole seconds.
    let about = |moment: Timestamp, seconds: i64| {
        assert!(moment <= fixture.later(seconds) && moment > fixture.later(seconds - 1), "{moment}");
    };
    about(long.expires_at, 3_600);
    assert!(long.url.contains("job_x.ndjson"), "the file has a good name");
    about(sign(60).await.expires_at, 60);
}
