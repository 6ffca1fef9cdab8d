//! A source of the host as the Parquet decoder wants it.

use std::io::{BufReader, Error, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};
use plinth_sdk::{Problem, objects};

/// What a sequential reader asks for at once: page headers are small.
const HEADER_BYTES: usize = 4096;

/// An open source.
#[derive(Clone)]
pub(crate) struct File {
    object: Arc<objects::Object>,
    size: u64,
}

impl File {
    pub(crate) fn open(source: &str) -> Result<Self, Problem> {
        let object = objects::open(source)?;
        let size = object.size();
        Ok(Self { object: Arc::new(object), size })
    }

    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, Problem> {
        let len = u32::try_from(len).map_err(|_| {
            Problem::bad_input("bad-parquet", format!("a column chunk has {len} bytes, more than can be read at once"))
        })?;
        self.object.read(offset, len)
    }
}

impl Length for File {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for File {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(BufReader::with_capacity(HEADER_BYTES, From { file: self.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.read(start, length).map_err(|problem| ParquetError::External(Box::new(problem)))?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} end behind the file")));
        }
        Ok(bytes.into())
    }
}

/// Reads on from a place.
pub(crate) struct From {
    file: File,
    at: u64,
}

impl Read for From {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.file.size.saturating_sub(self.at)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok(0);
        }
        let bytes = self.file.read(self.at, out.len().min(left)).map_err(Error::other)?;
        out[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}
