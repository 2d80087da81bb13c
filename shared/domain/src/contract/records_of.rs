//! What a record store does.

use jiff::Timestamp;
use records::{RecordId, ResourceType};

use super::Fixture;
use crate::ids::Partition;
use crate::ports::{IndexProbe, PageKey, ReadRange, RecordStore, Slice, shard_of};

/// Runs all behaviours of a [`RecordStore`].
pub async fn records(records: &dyn RecordStore, seed: u64, now: Timestamp) {
    a_record_is_written_stamped_and_replaced(records, &Fixture::new(seed, now)).await;
    ranges_include_both_ends(records, &Fixture::new(seed + 1, now)).await;
    records_stay_in_their_partition_and_type(records, &Fixture::new(seed + 2, now)).await;
    pages_cover_a_slice_once(records, &Fixture::new(seed + 3, now)).await;
}

/// Runs all behaviours of an [`IndexProbe`].
pub async fn index(index: &dyn IndexProbe, now: Timestamp) {
    index.mark(now).await.unwrap();
    // Where an index lags, the mark is there after a while.
    for _ in 0..300 {
        if index.latest_mark().await.unwrap() >= Some(now) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the mark does not come into the index");
}

async fn read_all(records: &dyn RecordStore, partition: &Partition, range: ReadRange) -> Vec<String> {
    let mut lines = Vec::new();
    for slice in Slice::all(&[ResourceType::Patient]) {
        lines.extend(read_slice(records, partition, slice, range).await);
    }
    lines.sort();
    lines
}

async fn read_slice(records: &dyn RecordStore, partition: &Partition, slice: Slice, range: ReadRange) -> Vec<String> {
    let mut lines = Vec::new();
    let mut counted = 0;
    let mut from: Option<PageKey> = None;
    loop {
        let page = records.read(partition, slice, range, from.as_ref()).await.unwrap();
        lines.extend(page.lines);
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    loop {
        let page = records.count(partition, slice, range, from.as_ref()).await.unwrap();
        counted += page.count;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(counted, lines.len() as u64, "counting and reading agree");
    lines
}

async fn a_record_is_written_stamped_and_replaced(records: &dyn RecordStore, fixture: &Fixture) {
    let mut batch = vec![fixture.patient("a", "First"), fixture.patient("b", "Second \\u00e9 \u{1F600}")];
    let outcome = records.write_batch(&fixture.partition, ResourceType::Patient, &mut batch, fixture.now).await;
    assert!(outcome.unwrap().unwritten.is_empty());
    let expected: Vec<_> = batch.iter().map(|line| line.as_str().to_owned()).collect();
    assert!(expected[0].contains(&format!("{:.3}", fixture.now)));
    assert_eq!(read_all(records, &fixture.partition, ReadRange::All).await, expected);

    let mut newer = vec![fixture.patient("a", "Newer")];
    let later = fixture.later(1);
    let outcome = records.write_batch(&fixture.partition, ResourceType::Patient, &mut newer, later).await;
    assert!(outcome.unwrap().unwritten.is_empty());
    let lines = read_all(records, &fixture.partition, ReadRange::All).await;
    assert_eq!(lines, [newer[0].as_str(), batch[1].as_str()]);
}

async fn ranges_include_both_ends(records: &dyn RecordStore, fixture: &Fixture) {
    for (id, second) in [("a", 0), ("b", 10), ("c", 20)] {
        let mut batch = vec![fixture.patient(id, "Name")];
        let at = fixture.later(second);
        let outcome = records.write_batch(&fixture.partition, ResourceType::Patient, &mut batch, at).await.unwrap();
        assert!(outcome.unwritten.is_empty());
    }
    let count = async |since, until| {
        let range = ReadRange::Updated { since: fixture.later(since), until: fixture.later(until) };
        read_all(records, &fixture.partition, range).await.len()
    };
    assert_eq!(count(0, 20).await, 3);
    assert_eq!(count(1, 19).await, 1);
    assert_eq!(count(10, 10).await, 1);
    assert_eq!(count(21, 30).await, 0);
}

async fn records_stay_in_their_partition_and_type(records: &dyn RecordStore, fixture: &Fixture) {
    let mut batch = vec![fixture.patient("a", "Name")];
    let outcome = records.write_batch(&fixture.partition, ResourceType::Patient, &mut batch, fixture.now).await;
    assert!(outcome.unwrap().unwritten.is_empty());
    assert_eq!(read_all(records, &fixture.live(), ReadRange::All).await, Vec::<String>::new());
    for slice in Slice::all(&[ResourceType::PractitionerRole, ResourceType::Practitioner]) {
        let page = records.read(&fixture.partition, slice, ReadRange::All, None).await.unwrap();
        assert!(page.lines.is_empty());
    }
}

async fn pages_cover_a_slice_once(records: &dyn RecordStore, fixture: &Fixture) {
    // 90 records of 50 KB in one shard: several pages of 1 MiB.
    let ids = (0..).map(|n| format!("r-{n}")).filter(|id| shard_of(&RecordId::try_from(id.clone()).unwrap()) == 3);
    let ids: Vec<_> = ids.take(90).collect();
    let name = "x".repeat(100);
    let filler = format!(r#"","note":"{}"#, "y".repeat(50_000));
    for ids in ids.chunks(25) {
        let mut batch: Vec<_> = ids.iter().map(|id| fixture.patient(id, &format!("{name}{filler}"))).collect();
        let stamp = fixture.now;
        while !batch.is_empty() {
            let outcome = records.write_batch(&fixture.partition, ResourceType::Patient, &mut batch, stamp).await;
            let unwritten = outcome.unwrap().unwritten;
            batch.retain(|line| unwritten.contains(line.id()));
        }
    }
    let slice = Slice { resource_type: ResourceType::Patient, shard: 3 };
    for range in [ReadRange::All, ReadRange::Updated { since: fixture.now, until: fixture.now }] {
        let first = records.read(&fixture.partition, slice, range, None).await.unwrap();
        assert!(first.next.is_some(), "the slice has more than one page");
        let lines = read_slice(records, &fixture.partition, slice, range).await;
        let mut found: Vec<_> = lines.iter().filter_map(|line| line.split('"').nth(7)).collect();
        found.sort_unstable();
        let mut expected: Vec<_> = ids.iter().map(String::as_str).collect();
        expected.sort_unstable();
        assert_eq!(found, expected);

        // Reading goes on behind any record, not only behind a page's last.
        let (covered, rest) = lines.split_at(17);
        let behind = PageKey::of(covered.last().unwrap()).unwrap();
        let page = records.read(&fixture.partition, slice, range, Some(&behind)).await.unwrap();
        assert!(!page.lines.is_empty());
        assert_eq!(page.lines, rest[..page.lines.len()]);
    }
}
