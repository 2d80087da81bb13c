//! When a worker has to stop, and when to look next.

use std::time::Duration;

use model::Timings;
use tokio::time::Instant;

/// For how long a worker that stops waits for what is on its way and for its tail.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How long a worker goes on, and for how long it waits for a store in which nothing advances.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    /// The time slice is over: it makes room.
    pub(crate) slice_ends: Instant,
    /// Until then it may begin the last step of a file.
    pub(crate) complete_by: Instant,
    /// The invocation's time is over.
    pub(crate) ends: Instant,
    stalled: Duration,
    /// When something has advanced last.
    advanced: Instant,
    /// Whether all that it does is to wait.
    waits: bool,
}

/// What time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Go on, and look again then at the latest.
    Nothing(Instant),
    /// Write down where work goes on, and make room.
    MakeRoom,
    /// Nothing has advanced for too long: what is waited for is down.
    Stalled,
}

impl Deadlines {
    /// Of a worker that begins at `now`, in an invocation that ends at `ends`. The last step of a file needs
    /// `timings.complete`; a shorter invocation keeps half of its time for it.
    pub(crate) fn new(now: Instant, timings: &Timings, ends: Instant) -> Self {
        let time = ends.saturating_duration_since(now);
        let before_complete = time.checked_sub(timings.complete).filter(|left| !left.is_zero()).unwrap_or(time / 2);
        Self {
            slice_ends: (now + timings.time_slice).min(ends),
            complete_by: now + before_complete,
            ends,
            stalled: timings.stalled(),
            advanced: now,
            waits: false,
        }
    }

    /// Of work that makes no room: it goes on for as long as it can.
    pub(crate) fn without_slice(self) -> Self {
        Self { slice_ends: self.complete_by, ..self }
    }

    /// Until when a worker that stops now waits for what is on its way.
    pub(crate) fn drained_by(now: Instant) -> Instant {
        now + DRAIN_TIME
    }

    /// Something has advanced.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.advanced = now;
    }

    /// Says whether all that is left is to wait: time that is spent otherwise is no stall.
    pub(crate) fn set_waiting(&mut self, waits: bool, now: Instant) {
        if waits && !self.waits {
            self.advanced = now;
        }
        self.waits = waits;
    }

    pub(crate) fn due(&self, now: Instant) -> Due {
        let stalls_at = self.advanced + self.stalled;
        if now >= self.slice_ends {
            Due::MakeRoom
        } else if self.waits && now >= stalls_at {
            Due::Stalled
        } else if self.waits {
            Due::Nothing(stalls_at.min(self.slice_ends))
        } else {
            Due::Nothing(self.slice_ends)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_has_its_whole_time_or_half_of_a_short_invocation() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let by = |complete, ends| {
            let timings = Timings { complete: Duration::from_secs(complete), ..Timings::default() };
            Deadlines::new(began, &timings, after(ends)).complete_by
        };
        assert_eq!((by(600, 870), by(600, 601)), (after(270), after(1)));
        assert_eq!((by(600, 600), by(600, 60)), (after(300), after(30)), "there is no time before it");
        assert_eq!(by(600, 0), began);
    }

    #[test]
    fn a_slice_ends_with_the_invocation_and_work_without_one_before_its_last_step() {
        let began = Instant::now();
        let after = |seconds| began + Duration::from_secs(seconds);
        let deadlines = |ends| Deadlines::new(began, &Timings::default(), after(ends));
        assert_eq!((deadlines(870).slice_ends, deadlines(60).slice_ends), (after(120), after(60)));
        assert_eq!(deadlines(870).without_slice().slice_ends, after(270));
        assert_eq!(Deadlines::drained_by(after(60)), after(70));
    }

    #[test]
    fn a_slice_ends_and_only_waiting_stalls() {
        let began = Instant::now();
        let second = |number| began + Duration::from_secs(number);
        let mut deadlines = Deadlines::new(began, &Timings::default(), second(870));
        assert_eq!(deadlines.due(second(100)), Due::Nothing(second(120)), "work is no stall");
        deadlines.set_waiting(true, second(30));
        assert_eq!(deadlines.due(second(40)), Due::Nothing(second(90)));
        assert_eq!(deadlines.due(second(90)), Due::Stalled);
        deadlines.advance(second(50));
        assert_eq!(deadlines.due(second(90)), Due::Nothing(second(110)));
        deadlines.set_waiting(false, second(91));
        deadlines.set_waiting(true, second(100));
        assert_eq!(deadlines.due(second(115)), Due::Nothing(second(120)), "waiting begins anew");
        assert_eq!(deadlines.due(second(120)), Due::MakeRoom, "whatever else is due");
    }
}
