//! Where probes go in the code of a Go function: behind the check of its stack, and on each return.
//!
//! A probe in the middle of an instruction would end the program that runs it. So nothing is placed unless all of the code decodes, and has
//! the form that Go's compiler gives to a function that may need more stack (`cmd/internal/obj/x86/obj6.go`): a comparison with the guard
//! in the goroutine (R14), a jump to the end, and from there a jump back to the beginning.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// `g.stackguard0`.
const GUARD: u64 = 16;
/// Instructions before the jump of the check: at most an address, a comparison and, for large frames, two more.
const CHECK: usize = 6;
/// Functions are smaller by far.
const MOST_BYTES: usize = 64 * 1024;

/// Offsets from the beginning of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Behind the check of the stack: passed once in each call, with arguments and stack pointer as at the beginning.
    pub begin: u64,
    /// Each `ret`.
    pub returns: Vec<u64>,
}

/// The places of a function with this code; nothing when it is not such a function.
pub fn places(code: &[u8]) -> Option<Places> {
    if code.len() > MOST_BYTES {
        return None;
    }
    let (mut begin, mut returns) = (None, Vec::new());
    let (mut compared, mut again, mut padding) = (false, false, false);
    for (index, one) in Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter().enumerate() {
        padding |= one.code() == Code::Int3;
        if one.is_invalid() || (padding && one.code() != Code::Int3) {
            return None;
        }
        let jumps = one.op0_kind() == OpKind::NearBranch64;
        if index < CHECK && begin.is_none() {
            compared |= is_comparison(&one);
            if compared && jumps && one.mnemonic() == Mnemonic::Jbe {
                begin = Some(one.next_ip());
            }
        }
        again |= jumps && one.mnemonic() == Mnemonic::Jmp && one.near_branch_target() == 0;
        if one.code() == Code::Retnq {
            returns.push(one.ip());
        }
    }
    (again && !returns.is_empty()).then_some(Places { begin: begin?, returns })
}

/// Whether this compares with the guard of the goroutine's stack.
fn is_comparison(one: &Instruction) -> bool {
    one.mnemonic() == Mnemonic::Cmp
        && one.memory_base() == Register::R14
        && one.memory_index() == Register::None
        && one.memory_displacement64() == GUARD
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `cmp rsp,[r14+16]; jbe +9; push rbp; mov rbp,rsp; nop; pop rbp; ret`, `nop; call +0; jmp 0`, padding.
    const FUNCTION: &[u8] = &[
        0x49, 0x3b, 0x66, 0x10, 0x76, 0x07, 0x55, 0x48, 0x89, 0xe5, 0x90, 0x5d, 0xc3, 0x90, 0xe8, 0x00, 0x00,
        0x00, 0x00, 0xeb, 0xeb, 0xcc, 0xcc,
    ];

    #[test]
    fn a_function_that_checks_its_stack() {
        assert_eq!(places(FUNCTION), Some(Places { begin: 6, returns: vec![12] }));
    }

    #[test]
    fn what_is_not_such_a_function_is_left_alone() {
        // Cut in an instruction, without the way back, without the check, with other bytes behind the padding.
        assert_eq!(places(&FUNCTION[..17]), None);
        assert_eq!(places(&FUNCTION[..19]), None);
        assert_eq!(places(&FUNCTION[6..]), None);
        assert_eq!(places(&[FUNCTION, &[0x90]].concat()), None);
        assert_eq!(places(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(code in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = places(&code);
        }
    }
}
