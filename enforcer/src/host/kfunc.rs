//! Calls of kernel functions that are not helpers. aya cannot name such a function, so the programs call a number that
//! no helper has, which is replaced here.
//!
//! Enters: the BPF object, and the type number of the function in the running kernel. Leaves: the same object with each
//! such call directed to the function, or, if the kernel has no such function, with an error in place of the call.

/// The number that stands for `bpf_get_fsverity_digest` (enforcer-ebpf/src/identity/content.rs).
const GET_FSVERITY_DIGEST: i32 = 0x6266_7001;

/// `call`, include/uapi/linux/bpf.h and Documentation/bpf/standardization/instruction-set.rst.
const CALL: u8 = 0x85;
/// In the source register of a call: the immediate is a type number of the kernel.
const PSEUDO_KFUNC_CALL: u8 = 2;
/// `r0 = immediate`
const MOVE_TO_R0: u8 = 0xb7;
const EOPNOTSUPP: i32 = 95;

/// Directs the calls. `None` if the object has none, which means that it is the wrong object.
pub(crate) fn direct(object: &[u8], function: Option<u32>) -> Option<Vec<u8>> {
    let mut directed = object.to_vec();
    let [a, b, c, d] = GET_FSVERITY_DIGEST.to_le_bytes();
    let marked = [CALL, 0, 0, 0, a, b, c, d];
    let replacement = match function {
        Some(function) => {
            let [a, b, c, d] = function.to_le_bytes();
            [CALL, PSEUDO_KFUNC_CALL << 4, 0, 0, a, b, c, d]
        }
        None => {
            let [a, b, c, d] = (-EOPNOTSUPP).to_le_bytes();
            [MOVE_TO_R0, 0, 0, 0, a, b, c, d]
        }
    };
    let mut found = false;
    // Instructions are at multiples of eight bytes, as their sections are.
    for instruction in directed.chunks_exact_mut(marked.len()).filter(|instruction| **instruction == marked) {
        instruction.copy_from_slice(&replacement);
        found = true;
    }
    found.then_some(directed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    const OBJECT: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 0x85, 0, 0, 0, 1, 0x70, 0x66, 0x62, 9, 9, 9, 9, 9, 9, 9, 9];

    #[test]
    fn the_call_is_directed_and_nothing_else_changes() {
        let directed = direct(&OBJECT, Some(0x0102_0304)).unwrap();
        assert_eq!(directed.get(8..16), Some(&[0x85, 0x20, 0, 0, 4, 3, 2, 1][..]));
        assert_eq!((directed.get(..8), directed.get(16..)), (OBJECT.get(..8), OBJECT.get(16..)));
    }

    #[test]
    fn without_the_function_the_call_is_an_error() {
        assert_eq!(direct(&OBJECT, None).unwrap().get(8..16), Some(&[0xb7, 0, 0, 0, 0xa1, 0xff, 0xff, 0xff][..]));
    }

    #[test]
    fn an_object_without_the_call_is_another_one() {
        assert_eq!(direct(OBJECT.split_at(8).0, Some(1)), None);
    }
}
