//! What a record store does.

use std::collections::BTreeSet;

use jiff::Timestamp;
use model::{ChangeGroup, ChangeLog, Deletion, Partition, Shard, Stamp, shard_of};
use ports::{IdSource, MAX_BATCH, MAX_GROUP, RecordReader, RecordRemover, RecordWriter, StoredRecord};
use records::{RecordId, ResourceType, StoredLine, Unpacker};

use super::Fixture;

/// Whatever keeps records.
pub trait Records: RecordWriter + RecordReader + RecordRemover {}

impl<T: RecordWriter + RecordReader + RecordRemover> Records for T {}

/// Runs all behaviours of [`Records`].
pub async fn records(records: &dyn Records, seed: u64, now: Timestamp) {
    a_record_is_written_stamped_and_replaced(records, &Fixture::new(seed, now)).await;
    long_lines_come_back_whole(records, &Fixture::new(seed + 1, now)).await;
    records_stay_in_their_partition_and_type(records, &Fixture::new(seed + 2, now)).await;
    pages_cover_a_shard_once(records, &Fixture::new(seed + 3, now)).await;
    changes_are_found_by_their_stamp(records, &Fixture::new(seed + 4, now)).await;
    pages_cover_a_log_once(records, &Fixture::new(seed + 5, now)).await;
    records_are_found_by_their_ids(records, &Fixture::new(seed + 6, now)).await;
    a_record_is_deleted_up_to_a_stamp(records, &Fixture::new(seed + 7, now)).await;
    pages_cover_deletions_once(records, &Fixture::new(seed + 8, now)).await;
}

/// Writes patients as everybody has to: the change first, then the records.
async fn write(records: &dyn Records, fixture: &Fixture, lines: &mut [StoredLine], at: Timestamp) -> ChangeGroup {
    let group = ChangeGroup::draw(ResourceType::Patient, at, fixture.ids.random());
    let ids: Vec<_> = lines.iter().map(|line| line.id().clone()).collect();
    records.log_changes(&fixture.partition, &group, &ids).await.unwrap();
    for batch in lines.chunks_mut(MAX_BATCH) {
        let mut left = batch.to_vec();
        while !left.is_empty() {
            let outcome = records.write_batch(&fixture.partition, &group, &mut left).await.unwrap();
            left.retain(|line| outcome.unwritten.contains(line.id()));
        }
        for line in batch {
            line.stamp(at);
        }
    }
    group
}

fn text(record: &StoredRecord) -> String {
    String::from_utf8(Unpacker::default().unpack(&record.line).unwrap().to_vec()).unwrap()
}

async fn read_all(records: &dyn Records, partition: &Partition) -> Vec<String> {
    let mut lines = Vec::new();
    for shard in Shard::all(ResourceType::Patient) {
        lines.extend(read_shard(records, partition, shard).await.iter().map(text));
    }
    lines.sort();
    lines
}

async fn read_shard(records: &dyn Records, partition: &Partition, shard: Shard) -> Vec<StoredRecord> {
    let mut found: Vec<StoredRecord> = Vec::new();
    loop {
        let after = found.last().map(|record| record.id.clone());
        let page = records.read(partition, shard, after.as_ref()).await.unwrap();
        assert!(page.units > 0.0 || page.items.is_empty());
        found.extend(page.items);
        if !page.has_more {
            break;
        }
    }
    let (mut counted, mut after) = (0, None);
    loop {
        let page = records.count(partition, shard, after.as_ref()).await.unwrap();
        counted += page.count;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(counted, found.len() as u64, "counting and reading agree");
    found
}

async fn a_record_is_written_stamped_and_replaced(records: &dyn Records, fixture: &Fixture) {
    let mut batch = vec![fixture.patient("a", "First"), fixture.patient("b", "Second \\u00e9 \u{1F600}")];
    write(records, fixture, &mut batch, fixture.now).await;
    let expected: Vec<_> = batch.iter().map(|line| line.as_str().to_owned()).collect();
    assert!(expected[0].contains(&format!("{:.3}", fixture.now)));
    assert_eq!(read_all(records, &fixture.partition).await, expected);

    let mut newer = vec![fixture.patient("a", "Newer")];
    let group = write(records, fixture, &mut newer, fixture.later(1)).await;
    assert_eq!(read_all(records, &fixture.partition).await, [newer[0].as_str(), batch[1].as_str()]);
    let shard = Shard { resource_type: ResourceType::Patient, number: shard_of(newer[0].id()) };
    let kept = read_shard(records, &fixture.partition, shard).await;
    assert_eq!((kept[0].id.as_str(), kept[0].stamp), ("a", group.stamp));
}

async fn long_lines_come_back_whole(records: &dyn Records, fixture: &Fixture) {
    let note = |n: usize| (0..n).map(|word| format!("word{} ", word % 97)).collect::<String>();
    let mut batch = [100, 2_000, 40_000].map(|n| fixture.patient_with_note(&format!("n-{n}"), "Name", &note(n)));
    write(records, fixture, &mut batch, fixture.now).await;
    let mut expected: Vec<_> = batch.iter().map(|line| line.as_str().to_owned()).collect();
    expected.sort();
    assert_eq!(read_all(records, &fixture.partition).await, expected);
}

async fn records_stay_in_their_partition_and_type(records: &dyn Records, fixture: &Fixture) {
    let mut batch = [fixture.patient("a", "Name")];
    let group = write(records, fixture, &mut batch, fixture.now).await;
    assert_eq!(read_all(records, &fixture.live()).await, Vec::<String>::new());
    for resource_type in [ResourceType::PractitionerRole, ResourceType::Practitioner] {
        for shard in Shard::all(resource_type) {
            assert!(records.read(&fixture.partition, shard, None).await.unwrap().items.is_empty());
        }
        let id = [batch[0].id().clone()];
        assert!(records.find(&fixture.partition, resource_type, &id).await.unwrap().records.is_empty());
    }
    assert_eq!(records.newest_change(&fixture.live(), group.log).await.unwrap(), None);
    let other = ChangeLog { resource_type: ResourceType::Practitioner, ..group.log };
    assert_eq!(records.newest_change(&fixture.partition, other).await.unwrap(), None);
}

async fn pages_cover_a_shard_once(records: &dyn Records, fixture: &Fixture) {
    // 90 records of 50 KB in one shard: several pages of 1 MiB, were they not deflated.
    let ids = (0..).map(|n| format!("r-{n}")).filter(|id| shard_of(&RecordId::try_from(id.clone()).unwrap()) == 3);
    let ids: Vec<_> = ids.take(90).collect();
    let filler = |id: &str| -> String {
        let random: String = (0..1_600).map(|_| format!("{:032x}", fixture.ids.random())).collect();
        format!("{id}-{random}")
    };
    for ids in ids.chunks(MAX_GROUP) {
        let mut lines: Vec<_> = ids.iter().map(|id| fixture.patient_with_note(id, "Name", &filler(id))).collect();
        write(records, fixture, &mut lines, fixture.now).await;
    }
    let shard = Shard { resource_type: ResourceType::Patient, number: 3 };
    let first = records.read(&fixture.partition, shard, None).await.unwrap();
    assert!(first.has_more, "the shard has more than one page");
    let found = read_shard(records, &fixture.partition, shard).await;
    let mut expected: Vec<_> = ids.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(found.iter().map(|record| record.id.as_str()).collect::<Vec<_>>(), expected);

    // Reading goes on after any record, not only after a page's last.
    let (covered, rest) = found.split_at(17);
    let page = records.read(&fixture.partition, shard, covered.last().map(|record| &record.id)).await.unwrap();
    assert!(!page.items.is_empty());
    assert_eq!(page.items, rest[..page.items.len()]);
}

async fn changes_are_found_by_their_stamp(records: &dyn Records, fixture: &Fixture) {
    let mut groups = Vec::new();
    for (id, second) in [("a", 0), ("b", 10), ("c", 20)] {
        groups.push(write(records, fixture, &mut [fixture.patient(id, "Name")], fixture.later(second)).await);
    }
    let found = async |since, until| {
        let (from, until) = (Stamp::first_of(fixture.later(since)), Stamp::last_of(fixture.later(until)));
        let mut found = Vec::new();
        for log in ChangeLog::all(ResourceType::Patient) {
            let page = records.changes(&fixture.partition, log, from, until).await.unwrap();
            let counted = records.count_changes(&fixture.partition, log, from, until).await.unwrap();
            assert_eq!(counted.count, page.items.len() as u64, "one id an item");
            assert!(!page.has_more && counted.next.is_none());
            found.extend(page.items.into_iter().map(|item| (item.stamp, item.ids[0].as_str().to_owned())));
        }
        found.sort();
        found
    };
    let all: Vec<_> = groups.iter().map(|group| group.stamp).zip(["a", "b", "c"].map(str::to_owned)).collect();
    assert_eq!(found(0, 20).await, all, "both ends are included");
    assert_eq!(found(1, 19).await, all[1..2]);
    assert_eq!(found(10, 10).await, all[1..2]);
    assert_eq!(found(21, 30).await, []);
    let last = groups[2];
    assert_eq!(records.newest_change(&fixture.partition, last.log).await.unwrap(), Some(last.stamp));
}

async fn pages_cover_a_log_once(records: &dyn Records, fixture: &Fixture) {
    let log = ChangeLog { resource_type: ResourceType::Patient, number: 2 };
    let mut expected = BTreeSet::new();
    for number in 0..120 {
        let stamp = Stamp::draw(fixture.later(number / 3), fixture.ids.random());
        let ids: Vec<_> = (0..3).map(|id| RecordId::try_from(format!("r-{number}-{id}")).unwrap()).collect();
        records.log_changes(&fixture.partition, &ChangeGroup { log, stamp }, &ids).await.unwrap();
        expected.insert(stamp);
    }
    let (mut found, mut from, until) = (Vec::new(), Stamp::first_of(fixture.now), Stamp::last_of(fixture.later(50)));
    loop {
        let page = records.changes(&fixture.partition, log, from, until).await.unwrap();
        found.extend(page.items.iter().map(|item| item.stamp));
        assert!(page.items.iter().all(|item| item.ids.len() == 3));
        if !page.has_more {
            break;
        }
        from = page.items.last().unwrap().stamp.next();
    }
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
    let (mut counted, mut next) = (0, Some(Stamp::first_of(fixture.now)));
    while let Some(from) = next {
        let page = records.count_changes(&fixture.partition, log, from, until).await.unwrap();
        counted += page.count;
        next = page.next;
    }
    assert_eq!(counted, 360);
}

async fn records_are_found_by_their_ids(records: &dyn Records, fixture: &Fixture) {
    let ids: Vec<_> = (0..MAX_GROUP).map(|n| format!("r-{n}")).collect();
    let mut lines: Vec<_> = ids[..90].iter().map(|id| fixture.patient(id, "Name")).collect();
    let group = write(records, fixture, &mut lines, fixture.now).await;
    let mut wanted: Vec<_> = ids.into_iter().map(|id| RecordId::try_from(id).unwrap()).collect();
    let mut found = BTreeSet::new();
    for _ in 0..100 {
        if wanted.is_empty() {
            break;
        }
        let answer = records.find(&fixture.partition, ResourceType::Patient, &wanted).await.unwrap();
        for record in answer.records {
            assert_eq!(record.stamp, group.stamp);
            assert!(found.insert(record.id), "a record is found once");
        }
        wanted = answer.unprocessed;
    }
    assert_eq!(found, lines.iter().map(|line| line.id().clone()).collect(), "those that exist");
}

async fn a_record_is_deleted_up_to_a_stamp(records: &dyn Records, fixture: &Fixture) {
    let resource_type = ResourceType::Patient;
    let id = fixture.patient("a", "Name").id().clone();
    let deletion = |second| Deletion { id: id.clone(), stamp: Stamp::last_of(fixture.later(second)) };
    let is_there = async |partition: &Partition| {
        loop {
            let found = records.find(partition, resource_type, std::slice::from_ref(&id)).await.unwrap();
            if found.unprocessed.is_empty() {
                return !found.records.is_empty();
            }
        }
    };
    let logged = async |partition: &Partition, of| {
        let page = records.deletions(partition, of, None).await.unwrap();
        assert!(!page.has_more);
        page.items
    };
    for partition in [&fixture.partition, &fixture.live()] {
        let mut lines = [fixture.patient("a", "Name")];
        let group = ChangeGroup::draw(resource_type, fixture.later(10), fixture.ids.random());
        records.log_changes(partition, &group, std::slice::from_ref(&id)).await.unwrap();
        assert_eq!(records.write_batch(partition, &group, &mut lines).await.unwrap().unwritten, []);
    }
    // A late deletion leaves what was stored after it.
    for (second, stays) in [(5, true), (20, false), (20, false)] {
        records.log_deletion(&fixture.partition, resource_type, &deletion(second)).await.unwrap();
        records.delete_record(&fixture.partition, resource_type, &deletion(second)).await.unwrap();
        assert_eq!(is_there(&fixture.partition).await, stays, "{second}");
        assert_eq!(logged(&fixture.partition, resource_type).await, [deletion(second)]);
    }
    records.log_deletion(&fixture.partition, resource_type, &deletion(15)).await.unwrap();
    assert_eq!(logged(&fixture.partition, resource_type).await, [deletion(20)], "an earlier moment changes nothing");
    assert!(is_there(&fixture.live()).await, "of another partition");
    assert_eq!(logged(&fixture.live(), resource_type).await, []);
    assert_eq!(logged(&fixture.partition, ResourceType::Practitioner).await, []);
}

async fn pages_cover_deletions_once(records: &dyn Records, fixture: &Fixture) {
    let mut expected = Vec::new();
    for number in 0..120 {
        let id = RecordId::try_from(format!("r-{number:03}")).unwrap();
        let deletion = Deletion { id, stamp: Stamp::draw(fixture.later(number), fixture.ids.random()) };
        records.log_deletion(&fixture.partition, ResourceType::Patient, &deletion).await.unwrap();
        expected.push(deletion);
    }
    let (mut found, mut pages): (Vec<Deletion>, _) = (Vec::new(), 0);
    loop {
        let after = found.last().map(|deletion| deletion.id.clone());
        let page = records.deletions(&fixture.partition, ResourceType::Patient, after.as_ref()).await.unwrap();
        assert!(page.items.len() <= MAX_GROUP && page.units > 0.0);
        found.extend(page.items);
        pages += 1;
        if !page.has_more {
            break;
        }
    }
    assert_eq!(found, expected);
    assert!(pages > 1);
}
