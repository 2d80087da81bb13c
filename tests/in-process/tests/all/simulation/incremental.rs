//! Incremental exports, each with the last one's `transactionTime` as its `since`, while imports write the same ids, and an
//! operator deletes some: replayed in order, lines stored and then deletions applied, they equal the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use in_process::jobs::import_of;
use model::{JobResult, JobState, Stamp, transaction_time};
use records::{RecordId, ResourceType, Unpacker};

use super::exports;
use super::world::{Call, World};

async fn start_import(world: &mut World, number: u64) {
    let lines = 1 + world.draw(120);
    let data: String = (0..lines)
        .map(|line| format!("{{\"id\":\"r-{}\",\"firstName\":\"J\",\"lastName\":\"D{number}\"}}\n", (line * 7) % 130))
        .collect();
    world.start(Call::Import(import_of(ResourceType::Patient, &data))).await;
}

/// The latest stamp that a line's record may have.
fn written(line: &str) -> Stamp {
    Stamp::last_of(exports::last_updated(line).parse().unwrap())
}

pub(crate) async fn in_a_row(world: &mut World) {
    let mut replica = BTreeMap::new();
    let mut since = None;
    let rounds = 2 + world.draw(4);
    for round in 0..=rounds {
        let is_last = round == rounds;
        if is_last {
            // The last export comes when all imports have ended, and what was on its way has arrived.
            world.run(async |_| {}).await;
            tokio::time::sleep(Duration::from_mins(6)).await;
        } else {
            for import in 0..=world.draw(2) {
                start_import(world, round * 10 + import).await;
            }
            for _ in 0..world.draw(100) {
                world.step().await;
                if world.draw(40) == 0 {
                    world.delete(&format!("r-{}", world.draw(130)));
                }
            }
            if world.draw(8) == 0 {
                // The change log is trusted for 90 days only, and forgets after 92.
                world.run(async |_| {}).await;
                tokio::time::sleep(Duration::from_hours(24 * (89 + world.draw(5)))).await;
                world.expire_changes();
            }
        }
        let patients = |world: &World| world.memory.records(&world.partition, ResourceType::Patient);
        let landed: BTreeSet<_> = patients(world).into_iter().map(|(id, stamp, _)| (id, stamp)).collect();
        let mut until = None;
        let id = exports::start(world, since).await;
        while !world.job(&id).await.has_ended() {
            world.step().await;
            if !is_last && world.draw(20) == 0 {
                world.delete(&format!("r-{}", world.draw(130)));
            }
            if let JobState::Processing { checkpoint: Some(checkpoint), .. } = world.job(&id).await.state()
                && let Some(checkpoint) = checkpoint.export()
                && !checkpoint.plan.by_log.is_empty()
            {
                until = Some(Stamp::last_of(checkpoint.plan.until));
            }
        }
        let job = world.job(&id).await;
        let lines = exports::lines(world, &job);
        if world.calm {
            // What had landed, and stays as it is, is in this export; and all that is stamped up to its `until`: in this
            // version, or a later one.
            let from = since.map(Stamp::first_of);
            let is_there = |id: &RecordId, stamp| lines.get(id.as_str()).is_some_and(|line| written(line) >= stamp);
            let missing = patients(world).into_iter().filter(|(id, stamp, _)| {
                Some(*stamp) >= from
                    && (Some(*stamp) <= until || landed.contains(&(id.clone(), *stamp)))
                    && !is_there(id, *stamp)
            });
            assert_eq!(missing.count(), 0, "seed {}: records are missing", world.seed);
        }
        replica.extend(lines);
        for id in exports::deleted(world, &job) {
            replica.remove(&id);
        }
        let Some(JobResult::Export { started_at, .. }) = job.result() else { panic!("{job:?}") };
        since = Some(transaction_time(*started_at));
    }
    world.run(async |_| {}).await;
    let mut unpacker = Unpacker::default();
    let mut stored = BTreeMap::new();
    for (id, _, line) in world.memory.records(&world.partition, ResourceType::Patient) {
        let line = String::from_utf8(unpacker.unpack(&line).unwrap().to_vec()).unwrap();
        stored.insert(id.to_string(), line);
    }
    let differs = |id: &&String| replica.get(*id) != stored.get(*id);
    let wrong: Vec<_> = stored.keys().filter(differs).chain(replica.keys().filter(differs)).collect();
    assert!(wrong.is_empty(), "seed {}: {} of {} records differ: {wrong:?}", world.seed, wrong.len(), stored.len());
}
