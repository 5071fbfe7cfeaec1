//! Looks at a library before the loader does: the loader would map a truncated file and die.

/// Checks that `bytes` are a whole shared library for this process.
///
/// # Errors
/// In words, what they are instead.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    if cfg!(target_os = "linux") { check_elf(bytes) } else { Ok(()) }
}

/// The machine of this process in an ELF header (System V ABI, `e_machine`).
const MACHINE: u16 = if cfg!(target_arch = "x86_64") {
    62
} else if cfg!(target_arch = "aarch64") {
    183
} else if cfg!(target_arch = "riscv64") {
    243
} else {
    0
};

/// A shared object, `ET_DYN`.
const SHARED: u16 = 3;

fn check_elf(bytes: &[u8]) -> Result<(), String> {
    if bytes.get(..4) != Some(b"\x7fELF") {
        return Err("it is no library of this system (not ELF)".into());
    }
    let truncated = || "it is truncated".to_string();
    match bytes.get(4).ok_or_else(truncated)? {
        2 if cfg!(target_pointer_width = "64") => {}
        1 => return Err("it is a 32-bit library, this is a 64-bit program".into()),
        _ => return Err("it is of another word size than this program".into()),
    }
    if bytes.get(5) != Some(&if cfg!(target_endian = "little") { 1 } else { 2 }) {
        return Err("it is of another byte order than this program".into());
    }
    let half = |at: usize| -> Result<u16, String> {
        let bytes = bytes.get(at..at + 2).ok_or_else(truncated)?;
        Ok(u16::from_ne_bytes([bytes[0], bytes[1]]))
    };
    let word = |at: usize| -> Result<usize, String> {
        let bytes = bytes.get(at..at.saturating_add(8)).ok_or_else(truncated)?;
        let value = u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
        usize::try_from(value).map_err(|_| truncated())
    };
    if half(16)? != SHARED {
        return Err("it is no shared library".into());
    }
    if MACHINE != 0 && half(18)? != MACHINE {
        let reason = format!("it is for machine {} of the ELF list, not {MACHINE}", half(18)?);
        return Err(reason);
    }
    let (programs, size, count) = (word(32)?, half(54)?, half(56)?);
    for index in 0..usize::from(count) {
        let at = programs.saturating_add(index * usize::from(size));
        // p_offset and p_filesz
        let end = word(at.saturating_add(8))?.saturating_add(word(at.saturating_add(32))?);
        if end > bytes.len() {
            return Err(truncated());
        }
    }
    let (sections, size, count) = (word(40)?, half(58)?, half(60)?);
    if sections.saturating_add(usize::from(size) * usize::from(count)) > bytes.len() {
        return Err(truncated());
    }
    Ok(())
}
