//! Kernel programs, loaded, attached and drained.
