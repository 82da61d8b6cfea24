//! The container engine's API (bollard).
