//! Where a model runs.

use std::{fmt, str::FromStr};

use crate::TensorError;

/// Where a model runs: `auto`, `cpu` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The first CUDA device where there is one and the library supports it; else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of that number.
    Cuda(u16),
}

impl FromStr for Device {
    type Err = TensorError;

    fn from_str(text: &str) -> Result<Self, TensorError> {
        let bad = || TensorError::BadDevice(text.to_owned());
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text.strip_prefix("cuda:").ok_or_else(bad)?.parse().map(Self::Cuda).map_err(|_| bad()),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(n) => write!(f, "cuda:{n}"),
        }
    }
}

impl Device {
    /// Whether this machine has it, as far as the kernel tells.
    pub fn is_here(self) -> bool {
        match self {
            Self::Cpu | Self::Auto => true,
            Self::Cuda(number) => nvidia_driver_is_loaded() && usize::from(number) < gpus(),
        }
    }

    /// Whether the library for GPUs should be tried before the one for CPUs.
    pub(crate) fn wants_gpu(self) -> bool {
        match self {
            Self::Cpu => false,
            Self::Cuda(_) => true,
            Self::Auto => nvidia_driver_is_loaded(),
        }
    }
}

/// Asked of the kernel rather than of a library, because loading CUDA only to learn that there is none is slow.
fn nvidia_driver_is_loaded() -> bool {
    std::path::Path::new("/proc/driver/nvidia/version").exists() || std::path::Path::new("/dev/nvidiactl").exists()
}

/// How many GPUs there are device files of.
fn gpus() -> usize {
    let number = |name: &str| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u16>().is_ok());
    let files = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    files.filter(|file| number(&file.file_name().to_string_lossy())).count()
}

#[cfg(test)]
mod tests {
    use plinth_core::Coded;

    use super::*;

    #[test]
    fn devices_read_as_they_are_written() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<Device>().unwrap(), Device::Cuda(0));
        for text in ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", ""] {
            let error = text.parse::<Device>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is not a device"));
            assert!(error.hint().unwrap().contains("cuda:0"));
        }
    }
}
