//! The capture file: SQLite.
