//! The table of what tenants use is away: jobs wait for it, and end as they should when it is back.

use std::time::Duration;

use engine::{Delivery, ImportWorker};
use in_process::jobs::{caller, deliver, import_of_upload, patients};
use in_process::network::{Fate, Network, Operation};
use in_process::{Service, test_partition};
use model::{FailureReason, JobId, JobSpec, JobState, ObjectKey, Plan};

use super::{deliver_for, with_jobs};
use crate::metrics::Metrics;

const FATES: [Fate; 4] = [Fate::Refused, Fate::Throttled, Fate::Denied, Fate::Hangs];

/// A worker of imports that can neither count requests nor give them back.
fn without_usage(service: &Service, fate: Fate) -> ImportWorker {
    let jobs = Network::scripted(&service.memory, Operation::Settle, std::iter::repeat(fate));
    with_jobs(service.import_worker(), jobs)
}

/// Has the job waited eight times, which is twice as often as workers may die, and told each?
async fn waits(service: &Service, id: &JobId, fate: Fate) {
    let (told, away) = (Metrics::told(), without_usage(service, fate));
    for in_a_row in 1..=8 {
        let delivery = deliver_for(&away, id, Duration::from_mins(1)).await;
        assert_eq!(delivery, Ok(Delivery::Deferred), "{fate:?}: long before the invocation's end");
        assert_eq!(service.job(id).await.deferrals(), in_a_row, "{fate:?}");
        let metrics = told.take();
        let metrics: Vec<_> = metrics.iter().filter(|line| line.contains("jobs_deferred=1")).collect();
        assert_eq!(metrics.len(), 1, "{fate:?}: {metrics:?}");
        assert!(metrics[0].contains(&format!("deferrals_in_a_row={in_a_row} ")), "{fate:?}: {metrics:?}");
        tokio::time::advance(Duration::from_mins(16)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_cannot_be_counted_waits() {
    for fate in FATES {
        let service = Service::start().await;
        let (upload, _) = service.uploader().create(&caller(Plan::Pro), 100).await.unwrap();
        service.memory.put_object(&ObjectKey::upload(&test_partition(), &upload), patients(600));
        let id = service.begin(&caller(Plan::Pro), import_of_upload(upload)).await;
        waits(&service, &id, fate).await;
        assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Done);
        assert_eq!(service.job(&id).await.progress().succeeded, 600, "{fate:?}");
        assert_eq!(service.used().await, 601);
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_gives_requests_back_waits_and_stays_the_same() {
    for fate in FATES {
        let service = Service::start().await;
        let id = service.begin_import(&patients(30)).await;
        let JobSpec::Import { source, .. } = service.job(&id).await.spec().clone() else { panic!("an import") };
        service.memory.remove_object(source.key());
        waits(&service, &id, fate).await;
        assert_eq!(deliver(&service.import_worker(), &id).await, Delivery::Done);
        assert_eq!(service.job(&id).await.state(), &JobState::Failed(FailureReason::SourceMissing), "{fate:?}");
        assert_eq!(service.used().await, 0, "its requests come back");
    }
}
