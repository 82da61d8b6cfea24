//! The command line's shape (clap).
