//! Benchmarks of the hot paths; the benches are under `benches/`.
