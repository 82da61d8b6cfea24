//! How the work grows: counted, not timed.
