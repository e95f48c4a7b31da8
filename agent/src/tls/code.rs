//! Where the instructions of a function are.
//!
//! A probe in the middle of an instruction would end the program that runs it. So nothing is placed unless all of the code decodes and
//! is understood.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

/// Functions are smaller by far.
const MOST_BYTES: usize = 64 * 1024;
/// `g.stackguard0` of Go.
const GUARD: u64 = 16;
/// Instructions before the jump of Go's check of the stack: at most an address, a comparison and, for large frames, two more.
const CHECK: usize = 6;

/// Places in a Go function, from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Places {
    /// Behind the check of the stack: passed once in each call, with arguments and stack pointer as at the beginning.
    pub begin: u64,
    /// Each `ret`.
    pub returns: Vec<u64>,
}

/// The places of a Go function with this code; nothing when it does not have the form that Go's compiler gives to a function that may need
/// more stack (`cmd/internal/obj/x86/obj6.go`): a comparison with the guard in the goroutine (R14), a jump to the end, and from there
/// a jump back to the beginning. It may be followed by padding.
pub(super) fn of_go(code: &[u8]) -> Option<Places> {
    let instructions = instructions(code)?;
    let comparison = instructions.iter().take(CHECK).position(is_comparison)?;
    let check = instructions.iter().take(CHECK).skip(comparison).find(|it| it.mnemonic() == Mnemonic::Jbe)?;
    instructions.iter().find(|it| it.mnemonic() == Mnemonic::Jmp && target(it) == Some(0))?;
    Some(Places { begin: check.next_ip(), returns: returns(&instructions)? })
}

/// Each `ret` of a function with this code, if it ends in no other way: nothing when it jumps elsewhere instead.
pub(super) fn ends(code: &[u8]) -> Option<Vec<u64>> {
    let instructions = instructions(code)?;
    let stays = |it: &Instruction| match (it.mnemonic(), target(it)) {
        (Mnemonic::Call, _) => true,
        (_, Some(target)) => target < code.len() as u64,
        (mnemonic, None) => mnemonic != Mnemonic::Jmp,
    };
    instructions.iter().all(stays).then(|| returns(&instructions))?
}

fn instructions(code: &[u8]) -> Option<Vec<Instruction>> {
    if code.len() > MOST_BYTES {
        return None;
    }
    let mut out: Vec<Instruction> = Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter().collect();
    let used = out.iter().rposition(|it| it.code() != Code::Int3)? + 1;
    out.truncate(used);
    out.iter().all(|it| !it.is_invalid() && it.code() != Code::Int3).then_some(out)
}

fn returns(instructions: &[Instruction]) -> Option<Vec<u64>> {
    let found: Vec<u64> =
        instructions.iter().filter(|it| it.code() == Code::Retnq).map(Instruction::ip).collect();
    (!found.is_empty()).then_some(found)
}

/// Where a call or jump goes, when the instruction tells.
fn target(one: &Instruction) -> Option<u64> {
    (one.op0_kind() == OpKind::NearBranch64).then(|| one.near_branch_target())
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

    /// `cmp rsp,[r14+16]; jbe +7; push rbp; mov rbp,rsp; nop; pop rbp; ret`, `nop; call +0; jmp 0`, padding.
    const GO: &[u8] = &[
        0x49, 0x3b, 0x66, 0x10, 0x76, 0x07, 0x55, 0x48, 0x89, 0xe5, 0x90, 0x5d, 0xc3, 0x90, 0xe8, 0x00, 0x00,
        0x00, 0x00, 0xeb, 0xeb, 0xcc, 0xcc,
    ];

    #[test]
    fn a_go_function_that_checks_its_stack() {
        assert_eq!(of_go(GO), Some(Places { begin: 6, returns: vec![12] }));
    }

    #[test]
    fn what_is_not_such_a_function_is_left_alone() {
        // Cut in an instruction, without the way back, without the check, with other bytes behind the padding.
        assert_eq!(of_go(&GO[..17]), None);
        assert_eq!(of_go(&GO[..19]), None);
        assert_eq!(of_go(&GO[6..]), None);
        assert_eq!(of_go(&[GO, &[0x90]].concat()), None);
        assert_eq!(of_go(&[]), None);
    }

    #[test]
    fn ends_of_functions() {
        // `test eax,eax; je +1; ret; ret`
        assert_eq!(ends(&[0x85, 0xc0, 0x74, 0x01, 0xc3, 0xc3]), Some(vec![4, 5]));
        // It goes on in another function: near, or wherever a register says.
        assert_eq!(ends(&[0x74, 0x7f, 0xc3]), None);
        assert_eq!(ends(&[0xc3, 0xff, 0xe0]), None);
        // It never ends.
        assert_eq!(ends(&[0xeb, 0xfe]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(code in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (of_go(&code), ends(&code));
        }
    }
}
