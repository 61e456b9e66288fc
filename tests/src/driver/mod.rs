//! A ptrace driver: faults at chosen system calls of chosen processes of a box.
//!
//! Theory of operation: a shell stops itself and then executes rustbox. A thread of this process, one for
//! each drive, seizes it and follows its children from their birth, and gives each of them its [`Role`] by
//! a fact of the kernel: the child made with `CLONE_NEWPID` is the init, the init's child is what will be
//! the payload, and the supervisor's other child is the keeper. Those that nobody asked for are let go at
//! once and run free; the others go from one system call to the next, and each call is counted by its name.
//!
//! A [`Boundary`] is "the k-th `openat` of the init": other than "system call 212" it means the same in
//! the next run, where a poll more or less shifts every number. What is not reached is said to be so.
//!
//! The death of a traced process is the death of any other: its parent-death signals, its descriptors and
//! its pidfd go the same way. The tracer only chooses the moment. When every fault has been made, the
//! driver lets go of everybody, and what follows is untouched.

mod boundary;
mod drive;
mod site;
mod tracee;
mod turns;

pub use boundary::{Boundary, Call, Fault, How, Role};
pub use drive::{Drive, Driven, End, Recorded};
