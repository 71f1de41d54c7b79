//! What kind of program a process runs, from what the kernel gave it at its start and from its memory. Its file is not
//! opened: that may lie on a mount that hangs.

use super::memory::Memory;
use super::read::Reader;

/// Types in the auxiliary vector (linux/auxvec.h): the address of the program headers, and the size of one of them.
const AT_PHDR: u64 = 3;
const AT_PHENT: u64 = 4;
/// A program header of this machine's word size (elf.h).
const HEADER_BYTES: u64 = if cfg!(target_pointer_width = "64") {
    56
} else {
    32
};
/// One word of the vector.
const WORD: usize = size_of::<usize>();
/// The smallest page of any machine: a program's headers lie in its first one.
const PAGE: u64 = 4096;

/// Whether its word size is not this machine's. One that cannot be read is taken as native: then its waits cannot be read
/// either.
pub(super) fn is_foreign(reader: &mut Reader, pid: u32) -> bool {
    let vector = vector(reader, pid);
    !vector.is_empty() && value(&vector, AT_PHENT) != Some(HEADER_BYTES)
}

/// Whether it is written in Go, whose linker leaves a note of its own near the head of each program
/// (cmd/link/internal/ld/elf.go, `elfwritegobuildid`).
pub(super) fn is_of_go(reader: &mut Reader, pid: u32) -> bool {
    let Some(headers) = value(&vector(reader, pid), AT_PHDR) else {
        return false;
    };
    let mut head = vec![0; PAGE as usize];
    let read = Memory::new(pid).read(headers & !(PAGE - 1), &mut head);
    read.is_ok() && has_note_of_go(&head)
}

/// The auxiliary vector: types and values by turns.
fn vector(reader: &mut Reader, pid: u32) -> Vec<u64> {
    let read = reader.bytes(&format!("/proc/{pid}/auxv"));
    let words = read.unwrap_or_default().chunks_exact(WORD);
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        usize::from_ne_bytes(bytes) as u64
    };
    words.map(word).collect()
}

fn value(vector: &[u64], wanted: u64) -> Option<u64> {
    let mut pairs = vector.chunks_exact(2);
    pairs.find(|pair| pair[0] == wanted).map(|pair| pair[1])
}

fn has_note_of_go(head: &[u8]) -> bool {
    const NOTE: &[u8] = b"\x04\0\0\0Go\0\0";
    head.windows(NOTE.len()).any(|bytes| bytes == NOTE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_go_is_known_by_the_note_of_its_linker() {
        let mut head = vec![0; 4000];
        head.extend(b"\x04\0\0\0\x53\0\0\0\x04\0\0\0Go\0\0");
        assert!(has_note_of_go(&head));
        assert!(!has_note_of_go(b"\x7fELF Go\0\0"));
        assert!(!is_of_go(&mut Reader::default(), std::process::id()));
    }

    /// A program of 32 bits that waits for a signal: its header, one program header, `pause` in a loop.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_program_of_another_word_size_is_foreign() {
        use std::os::unix::fs::PermissionsExt;
        let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x03\0".to_vec();
        for word in [1, 0x0804_8054, 52, 0, 0, 0x0020_0034, 1, 0] {
            file.extend(u32::to_le_bytes(word));
        }
        for word in [1, 0, 0x0804_8000, 0x0804_8000, 93, 93, 5, 4096] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend(b"\xb8\x1d\0\0\0\xcd\x80\xeb\xf7");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        std::fs::write(&path, file).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        let mut foreign = std::process::Command::new(&path).spawn().unwrap();
        let mut reader = Reader::default();
        assert!(is_foreign(&mut reader, foreign.id()));
        assert!(!is_foreign(&mut reader, std::process::id()));
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }
}
