//! One heap that is kept together, for all threads.
//!
//! After each clone of a box's processes every page that is written has to be copied, and every other processor told: an
//! allocator that gives each thread memory of its own, and keeps what is freed for later, has a batch copy half as many pages
//! again.

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;
