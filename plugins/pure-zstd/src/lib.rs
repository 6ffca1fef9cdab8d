//! Stands in for the crate `zstd` in components, by a `[patch]` of this workspace: that one wraps a C library, and
//! few machines have a C compiler for WebAssembly. Here the decoder is Rust.
//!
//! It has what the `parquet` crate calls and nothing else, and it does not compress. Remove it when `parquet` can be
//! given a codec.

/// Whole buffers at once.
pub mod bulk {
    use std::io::{Cursor, Error, ErrorKind};
    use std::marker::PhantomData;

    use ruzstd::decoding::FrameDecoder;

    /// Would compress; only there to be named.
    pub struct Compressor<'a>(PhantomData<&'a ()>);

    impl Compressor<'_> {
        /// For any level.
        ///
        /// # Errors
        /// None.
        pub fn new(_level: i32) -> std::io::Result<Self> {
            Ok(Self(PhantomData))
        }

        /// Refuses.
        ///
        /// # Errors
        /// Always: nothing here writes zstd.
        pub fn compress_to_buffer(&mut self, _from: &[u8], _to: &mut Cursor<&mut Vec<u8>>) -> std::io::Result<usize> {
            Err(Error::new(ErrorKind::Unsupported, "zstd is only read here, not written"))
        }
    }

    /// Decompresses.
    pub struct Decompressor<'a>(FrameDecoder, PhantomData<&'a ()>);

    impl Decompressor<'_> {
        /// Without a dictionary.
        ///
        /// # Errors
        /// None.
        pub fn new() -> std::io::Result<Self> {
            Ok(Self(FrameDecoder::new(), PhantomData))
        }

        /// Decompresses every frame of `from` to the cursor's place in `to`, which must have the capacity for it.
        ///
        /// # Errors
        /// Where the frames are damaged or hold more than fits.
        pub fn decompress_to_buffer(&mut self, from: &[u8], to: &mut Cursor<&mut Vec<u8>>) -> std::io::Result<usize> {
            let at = usize::try_from(to.position()).map_err(Error::other)?;
            let buffer = to.get_mut();
            buffer.truncate(at);
            self.0
                .decode_all_to_vec(from, buffer)
                .map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
            let end = buffer.len();
            to.set_position(end as u64);
            Ok(end - at)
        }
    }
}

/// The lower level.
pub mod zstd_safe {
    /// A frame header that cannot be read.
    #[derive(Debug)]
    pub struct ContentSizeError;

    /// Unknown: callers then guess, and the pages of Parquet files say their size themselves.
    ///
    /// # Errors
    /// None.
    pub fn get_frame_content_size(_frame: &[u8]) -> Result<Option<u64>, ContentSizeError> {
        Ok(None)
    }

    /// Room for what would be compressed.
    pub fn compress_bound(size: usize) -> usize {
        size
    }
}
