//! The `slim` binary: everything is in the library, so that tests can reach it.

fn main() -> std::process::ExitCode {
    slim_host::commands::main()
}
