//! Trying again: what every loop does while the service or the network is away.

use std::time::Duration;

use anyhow::Result;
use clinikapi::{ApiError, Client, Polled};
use jiff::Timestamp;
use serde_json::json;

use crate::events::Events;

/// An outage is looked at again after so long, and then after twice as long, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A job counts as gone when the service has said so as often in a row.
const TIMES: u32 = 3;

/// A job that the service does not know is asked for again after so long.
const AFTER_MISS: Duration = Duration::from_secs(1);

/// How long to wait before the next try: longer from failure to failure.
#[derive(Debug)]
pub struct Backoff {
    pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { pause: FIRST_PAUSE }
    }
}

impl Backoff {
    /// The pause before the next try, or `None` for what does not pass. An answer of somebody on the way passes: whoever
    /// has come so far has the right address.
    pub fn after(&mut self, error: &ApiError) -> Option<Duration> {
        if let Some(slot) = error.slot_in() {
            return Some(slot);
        }
        if !error.is_passing() && !error.is_foreign() {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        Some(pause)
    }

    /// The same of a failure of any kind, and says when the next try is; what does not pass comes back.
    pub(crate) fn announced(&mut self, events: &dyn Events, error: anyhow::Error) -> Result<Duration> {
        let Some(pause) = error.downcast_ref().and_then(|error| self.after(error)) else { return Err(error) };
        announce_retry(events, &error, pause)?;
        Ok(pause)
    }

    /// Does something until it succeeds, or fails with what does not pass.
    pub fn until_done<T>(events: &dyn Events, mut work: impl FnMut() -> Result<T>) -> Result<T> {
        let mut backoff = Self::default();
        loop {
            match work() {
                Err(error) => std::thread::sleep(backoff.announced(events, error)?),
                done => return done,
            }
        }
    }
}

/// Says that something is tried again, and when.
fn announce_retry(events: &dyn Events, error: &anyhow::Error, pause: Duration) -> Result<()> {
    if error.downcast_ref().and_then(ApiError::slot_in).is_some() {
        return announce_slot(events, pause);
    }
    events.say(&format!("{error}; trying again in {} s", pause.as_secs()));
    events.event(&json!({"event": "retrying", "message": error.to_string(), "seconds": pause.as_secs()}))
}

/// Says that the limit's next slot is waited for.
pub(crate) fn announce_slot(events: &dyn Events, after: Duration) -> Result<()> {
    events.say(&format!("the hourly limit is used up; waiting for its next slot at {}", in_words(after)));
    events.event(&json!({"event": "waiting", "seconds": after.as_secs()}))
}

/// A moment for people: the time of day, and how far away it is.
pub(crate) fn in_words(after: Duration) -> String {
    let at = Timestamp::now() + jiff::SignedDuration::try_from(after).unwrap_or_default();
    format!("{} UTC (in {} min)", at.strftime("%H:%M"), after.as_secs().div_ceil(60))
}

/// A job of this kind, once the service shows it, or has said three times that there is none.
pub(crate) fn job_of_kind(client: &Client, id: &str, kind: &str) -> Result<Polled> {
    let polled = ask_thrice(|| Ok(client.job(id)?))?;
    if polled.job.kind == kind { Ok(polled) } else { Err(ApiError::OtherJob.into()) }
}

/// Asks for something of a job. That the service does not know it is believed the third time in a row: one "not found" proves
/// nothing.
pub(crate) fn ask_thrice<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TIMES {
        match ask() {
            Err(error) if is_not_found(&error) => std::thread::sleep(AFTER_MISS),
            asked => return asked,
        }
    }
    ask()
}

/// Whether the service says that it does not know the job.
pub(crate) fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(ApiError::is_not_found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_looked_at_ever_less_often() {
        let mut backoff = Backoff::default();
        let away = ApiError::Network("away".to_owned());
        let pauses: Vec<_> = (0..6).map(|_| backoff.after(&away).unwrap().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 30, 30]);
        for foreign in [ApiError::NotTheApi(404), ApiError::Unreadable, ApiError::OtherJob] {
            assert!(backoff.after(&foreign).is_some());
        }
        assert!(backoff.after(&ApiError::Changed).is_none() && backoff.after(&ApiError::NoSuchJob).is_none());
    }

    #[test]
    fn a_job_is_gone_the_third_time_in_a_row() {
        for (misses, is_gone) in [(2, false), (3, true)] {
            let mut asked = 0;
            let answer = ask_thrice(|| {
                asked += 1;
                if asked <= misses { Err(ApiError::NoSuchJob.into()) } else { Ok(()) }
            });
            assert_eq!((asked, answer.is_err()), (3, is_gone));
        }
    }
}
