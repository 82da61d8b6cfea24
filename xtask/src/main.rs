//! Set-up, demo, tests and benchmarks of slim.
fn main() {}
