//! What every binary needs: settings, telemetry, the system's clock and randomness. Knows neither Lambda nor HTTP.

mod settings;
mod system;
mod telemetry;

pub use settings::{InvalidSettings, Settings};
pub use system::{SystemClock, SystemIds};
pub use telemetry::init_telemetry;
