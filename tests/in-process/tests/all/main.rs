//! The whole service in one process, on in-memory ports; and what holds for the repository as a whole.

mod flows;
mod metrics;
mod middleware;
mod openapi;
mod promises;
mod reports;
mod rooms;
mod round_trip;
mod simulation;
mod template;
mod uploads;
