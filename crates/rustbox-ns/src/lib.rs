//! Place holder.

pub mod seccomp;
