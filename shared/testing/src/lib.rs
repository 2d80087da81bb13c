//! The ports in memory, and the suite that every implementation of them passes. For tests only.

pub mod contract;
pub mod memory;

pub use memory::{Memory, MemoryClock, SeededIds, checksum};
