//! The payloads under `events/run-import/` and what comes of them.

use in_process::messages_to_retry;

#[tokio::test(start_paused = true)]
async fn a_message_about_a_job_that_is_gone_is_done() {
    assert!(messages_to_retry("run-import", "job").await.is_empty());
    assert!(messages_to_retry("run-import", "same-job-twice").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_read_is_retried_and_ends_in_the_dlq() {
    let again = messages_to_retry("run-import", "unreadable-message").await;
    assert_eq!(again, ["00000000-0000-4000-8000-000000000000"]);
}
