//! Set-up, images, tests, demo and benchmarks of slim: everything that a machine with only Rust, a C
//! compiler, Python and apt needs in order to build slim and prove it.
//!
//! Each verb is one file. A verb may be repeated at will: it looks at what is there and adds what is
//! missing. Nothing is downloaded but through apt, pip, npm and cargo as the machine configures them,
//! and no engine, container or image that xtask did not make is stopped or changed.
#![expect(clippy::print_stdout, reason = "xtask talks to the developer at the terminal")]

mod bench;
mod build;
mod debian;
mod demo;
mod engine;
mod images;
mod mutate;
mod place;
mod process;
mod recipes;
mod setup;
mod test;
mod vm;
mod zoo;

use clap::{Parser, Subcommand};

/// Set-up, images, tests, demo and benchmarks of slim.
#[derive(Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what this machine lacks and start a private container engine where none answers.
    Setup,
    /// Show, start or stop the private engines; print the environment that names one.
    #[command(subcommand)]
    Engine(engine::Verb),
    /// Build the test images that are missing or whose recipe changed (all of them by default).
    Images {
        /// Names of folders under tests/images.
        names: Vec<String>,
    },
    /// Set up, build, and run every test: unit tests, then the end-to-end tests on a real engine.
    Test {
        /// Passed to the test runner, for example a part of a test's name.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        filter: Vec<String>,
    },
    /// Set up, build, and make a small image of the nginx test image before your eyes.
    Demo,
    /// Run the kernel tests on other kernels, in virtual machines.
    Vm(vm::Options),
    /// Measure what tracing costs the traced program.
    Bench(bench::Options),
    /// Make the table of sizes in docs/recipes.md of what the tests measured.
    Recipes(recipes::Options),
    /// Remove files of slim images and ask slim verify (see docs/mutation.md).
    Mutate(mutate::Options),
    /// Slim real images and check each by more than what was traced (see docs/zoo.md).
    Zoo(zoo::Options),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().verb {
        Verb::Setup => setup::run().map(drop),
        Verb::Engine(verb) => engine::run(&verb),
        Verb::Images { names } => images::run(&names),
        Verb::Test { filter } => test::run(&filter),
        Verb::Demo => demo::run(),
        Verb::Vm(options) => vm::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Recipes(options) => recipes::run(&options),
        Verb::Mutate(options) => mutate::run(&options),
        Verb::Zoo(options) => zoo::run(&options),
    }
}
