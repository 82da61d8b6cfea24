//! The tracer on the running kernel: trigger, then the exact set of accesses.
//!
//! Needs root, a cgroup2 mount and the kernel programs. Each test has groups, mounts and a tracer of its own, so all can
//! run at once.

mod absent;
mod accesses;
mod addresses;
mod case;
mod cost;
mod coverage;
mod loss;
mod names;
mod scope;
mod snapshot;
mod sources;
mod sweep;
mod workload;

use slim_tests::kernel::{Entry, Plan, Tree};

/// A plan for the program that cargo built beside this test.
fn plan(tree: &Tree, entry: Entry) -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_arena-child"), tree, entry)
}
