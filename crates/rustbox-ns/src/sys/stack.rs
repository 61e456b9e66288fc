//! A stack for a process that shares its parent's memory.

use std::ffi::c_void;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};

/// Three times what the process that becomes the payload of a prepared box takes.
const BYTES: usize = 256 << 10;
/// Below the stack, where nothing can be written.
const GUARD: usize = 64 << 10;

/// Memory that nothing else uses. It is never given back: the process that it is for may outlive the value.
#[derive(Debug)]
pub(crate) struct Stack {
    top: *mut u8,
}

impl Stack {
    pub(crate) fn new() -> Result<Self, Errno> {
        let nowhere = std::ptr::null_mut();
        // SAFETY: new memory, at an address of the kernel's choice.
        let bottom: *mut c_void =
            unsafe { mmap_anonymous(nowhere, GUARD + BYTES, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        // SAFETY: GUARD is inside of what was just mapped.
        let stack = unsafe { bottom.byte_add(GUARD) };
        // SAFETY: the rest of what was just mapped, to which nobody else has a pointer.
        unsafe { mprotect(stack, BYTES, MprotectFlags::READ | MprotectFlags::WRITE) }?;
        // SAFETY: one past the end of it.
        let top = unsafe { stack.byte_add(BYTES) };
        Ok(Self { top: top.cast() })
    }

    /// Moves a value to the upper end of the stack; what is below it is free.
    pub(super) fn push<T>(self, value: T) -> *mut T {
        const { assert!(size_of::<T>() <= LARGEST && align_of::<T>() <= ALIGNMENT) };
        let place = self.top.wrapping_sub(size_of::<T>());
        let place = place.wrapping_sub(place.addr() % ALIGNMENT).cast::<T>();
        // SAFETY: the stack is larger, and the place aligned for it; nobody else writes there.
        unsafe { place.write(value) };
        place
    }
}

/// Bytes of a value that is pushed, at most.
const LARGEST: usize = 4096;
/// Of a stack pointer on each architecture that Linux has, and of every value that is pushed.
const ALIGNMENT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_on_top_and_aligned() -> Result<(), Errno> {
        let stack = Stack::new()?;
        let top = stack.top.addr();
        let place = stack.push([7_u64; 3]);
        assert_eq!(place.addr() % ALIGNMENT, 0);
        assert!(top - place.addr() < 2 * ALIGNMENT);
        // SAFETY: written by `push`.
        assert_eq!(unsafe { place.read() }, [7; 3]);
        Ok(())
    }
}
