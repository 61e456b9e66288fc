//! A small evaluator of classic BPF: what the kernel would answer, without asking it.

/// `struct seccomp_data` of `linux/seccomp.h`, without the instruction pointer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) audit_arch: u32,
    pub(crate) number: u32,
    pub(crate) arguments: [u64; 6],
}

/// What a program answers to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evaluation {
    /// `SECCOMP_RET_*` with its data.
    pub(crate) action: u32,
    /// Whether an argument had a say in it.
    pub(crate) looked_at_arguments: bool,
    /// How many instructions ran.
    pub(crate) instructions: usize,
}

impl Call {
    /// The word at an offset of `struct seccomp_data`, on a little-endian machine.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit_arch,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[usize::try_from((offset - 16) / 8).unwrap()];
                let half = if offset.is_multiple_of(8) { argument } else { argument >> 32 };
                u32::try_from(half & u64::from(u32::MAX)).unwrap()
            }
            _ => panic!("a load from offset {offset}, where nothing of interest is"),
        }
    }
}

/// Runs a program; panics on everything that the kernel's checker refuses or that is not used here.
pub(crate) fn evaluate(program: &[libc::sock_filter], call: &Call) -> Evaluation {
    let (mut accumulator, mut position) = (0, 0);
    let mut looked_at_arguments = false;
    for instructions in 1.. {
        let libc::sock_filter { code, jt, jf, k } = program[position];
        position += 1;
        let mut jump_if = |holds: bool| position += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => {
                looked_at_arguments |= k >= 16;
                accumulator = call.word(k);
            }
            0x54 => accumulator &= k,
            0x05 => position += usize::try_from(k).unwrap(),
            0x15 => jump_if(accumulator == k),
            0x25 => jump_if(accumulator > k),
            0x35 => jump_if(accumulator >= k),
            0x06 => return Evaluation { action: k, looked_at_arguments, instructions },
            _ => panic!("instruction {code:#x} is none that the compiler writes"),
        }
    }
    unreachable!("positions only grow, and a program ends")
}
