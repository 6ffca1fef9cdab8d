//! The program's own memory, once a server has started: what only the start needed is not held for as long as it runs.

/// Lets go of the pages of this program and of the ONNX Runtime that hold code and constants. What is used again is mapped
/// again from the system's cache; the rest of a start (reading arguments and configuration, optimising models, loading
/// plugins) is not used again. What it has freed of larger pieces goes back as well. Does nothing where it cannot.
pub(crate) fn let_go() {
    crate::allocator::trim();
    #[cfg(target_os = "linux")]
    linux::let_go();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{ffi::c_void, fs, ops::Range, path::Path};

    use rustix::mm::{Advice, madvise};

    pub(super) fn let_go() {
        let (Ok(program), Ok(maps)) = (fs::read_link("/proc/self/exe"), fs::read_to_string("/proc/self/smaps")) else {
            return;
        };
        for pages in unchanged(&maps, &program) {
            // SAFETY: the pages are those of a file, mapped not to be written, and none of them was ever written to, so that
            // what they hold is what the file holds; and they stay mapped as long as this process lives: neither the
            // program nor that library is ever unloaded. Their content is the same before and after.
            #[expect(unsafe_code, reason = "advice about pages that are mapped takes their address")]
            let advised = unsafe { madvise(pages.start as *mut c_void, pages.len(), Advice::LinuxDontNeed) };
            if let Err(error) = advised {
                tracing::debug!(%error, ?pages, "pages of the program were not let go");
            }
        }
    }

    /// The addresses of code and constants that are as their file has them, and are never unloaded.
    pub(super) fn unchanged(maps: &str, program: &Path) -> Vec<Range<usize>> {
        let (mut all, mut last) = (Vec::new(), None);
        for line in maps.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // Constants that were written to when the program was put in its place have pages of their own, in memory or
                // swapped out.
                Some("Anonymous:") => last = last.filter(|_| words.next() == Some("0")),
                Some("Swap:") => all.extend(last.take().filter(|_| words.next() == Some("0"))),
                Some(first) if first.ends_with(':') => {}
                _ => last = pages(line, program),
            }
        }
        all
    }

    /// The addresses of a mapping's first line, if it is one of code or constants that is never unloaded.
    fn pages(line: &str, program: &Path) -> Option<Range<usize>> {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let path = Path::new(fields.nth(3)?);
        let library = path.file_name()?.to_string_lossy().starts_with("libonnxruntime.so");
        if !matches!(rights, "r-xp" | "r--p") || !(path == program || library) {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;

    #[test]
    fn only_what_is_as_its_file_has_it_and_never_unloaded_is_let_go() {
        let program = Path::new("/usr/bin/plinth");
        let pages = |line: &str, own: [u8; 2]| {
            let maps =
                format!("{line}\nSize: 64 kB\nAnonymous:    {} kB\nSwap:   {} kB\nVmFlags: rd mr\n", own[0], own[1]);
            let others = "7f00-7f10 rw-p 00000000 00:00 0\nAnonymous: 0 kB\nSwap: 0 kB\n";
            super::linux::unchanged(&format!("{others}{maps}{others}"), program)
        };
        let code = "55d0c0a00000-55d0c0b00000 r-xp 00100000 08:01 42         /usr/bin/plinth";
        assert_eq!(pages(code, [0, 0]).first(), Some(&(0x55d0_c0a0_0000..0x55d0_c0b0_0000)));
        let constants = "7f00-7f10 r--p 00000000 08:01 43 /opt/ort/libonnxruntime.so.1.25.1";
        assert_eq!(pages(constants, [0, 0]).first(), Some(&(0x7f00..0x7f10)));
        // Constants may have been written to when the program was put in its place; others come and go.
        assert!(pages("55d0-55d1 r--p 00000000 08:01 42 /usr/bin/plinth", [4, 0]).is_empty());
        assert!(pages("55d0-55d1 r--p 00000000 08:01 42 /usr/bin/plinth", [0, 4]).is_empty());
        assert!(pages("55d0-55d1 rw-p 00000000 08:01 42 /usr/bin/plinth", [0, 0]).is_empty());
        assert!(pages("7f00-7f10 r-xp 00000000 08:01 44 /cache/components/ab.cwasm", [0, 0]).is_empty());
        assert!(pages("7f00-7f10 r-xp 00000000 00:00 0", [0, 0]).is_empty());
        assert!(pages("7ffd-7ffe r-xp 00000000 00:00 0 [vdso]", [0, 0]).is_empty());
    }
}
