//! The compiled programs: what the build script wrote.

include!(concat!(env!("OUT_DIR"), "/seccomp_programs.rs"));
