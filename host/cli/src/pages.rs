//! The program's own pages, once a server has started: what only the start needed is not held for as long as it runs.

/// Lets go of the pages of this program and of the ONNX Runtime that hold code. What is called again is mapped again from the
/// system's cache; the rest of a start (reading arguments and configuration,
/// optimising models, loading plugins) is not called again. Does nothing where it cannot.
pub(crate) fn let_go() {
    #[cfg(target_os = "linux")]
    linux::let_go();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{ffi::c_void, fs, path::Path};

    use rustix::mm::{Advice, madvise};

    pub(super) fn let_go() {
        let (Ok(program), Ok(maps)) = (fs::read_link("/proc/self/exe"), fs::read_to_string("/proc/self/maps")) else {
            return;
        };
        for line in maps.lines() {
            let Some((start, end)) = code(line, &program) else { continue };
            // SAFETY: the pages are those of a file, mapped to be read and run and not to be written, so that what they hold
            // is what the file holds, and stay mapped as long as this process lives: neither the program nor that
            // library is ever unloaded. Their content is the same before and after.
            #[expect(unsafe_code, reason = "advice about pages that are mapped takes their address")]
            let advised = unsafe { madvise(start as *mut c_void, end - start, Advice::LinuxDontNeed) };
            if let Err(error) = advised {
                tracing::debug!(%error, line, "pages of code were not let go");
            }
        }
    }

    /// The addresses of a line of the map, if they are of code that is never unloaded.
    pub(super) fn code(line: &str, program: &Path) -> Option<(usize, usize)> {
        let mut fields = line.split_ascii_whitespace();
        let (range, rights) = (fields.next()?, fields.next()?);
        let path = Path::new(fields.nth(3)?);
        let library = path.file_name()?.to_string_lossy().starts_with("libonnxruntime.so");
        if rights != "r-xp" || !(path == program || library) {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::path::Path;

    #[test]
    fn only_code_that_is_never_unloaded_is_let_go() {
        let program = Path::new("/usr/bin/plinth");
        let code = |line: &str| super::linux::code(line, program);
        let found = code("55d0c0a00000-55d0c0b00000 r-xp 00100000 08:01 42         /usr/bin/plinth");
        assert_eq!(found, Some((0x55d0_c0a0_0000, 0x55d0_c0b0_0000)));
        assert!(code("7f00-7f10 r-xp 00000000 08:01 43 /opt/ort/libonnxruntime.so.1.25.1").is_some());
        // Constants may have been written to when the program was put in its place; others come and go.
        assert_eq!(code("55d0-55d1 r--p 00000000 08:01 42 /usr/bin/plinth"), None);
        assert_eq!(code("7f00-7f10 r-xp 00000000 08:01 44 /cache/components/ab.cwasm"), None);
        assert_eq!(code("7f00-7f10 r-xp 00000000 00:00 0"), None);
        assert_eq!(code("7ffd-7ffe r-xp 00000000 00:00 0 [vdso]"), None);
    }
}
