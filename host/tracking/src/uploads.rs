//! Files that come in parts. A part is a blob of its own, so an upload survives a restart and may be spread over
//! servers; the file has its path only once it was put together, and nobody sees it before.

use std::io::Write;

use plinth_core::ContentHash;
use plinth_store::{StoreError, Value};

use crate::{Tracking, TrackingError, files, names::cut};

/// Most parts of one file: what S3 takes.
pub const UPLOAD_PARTS_MAX: u32 = 10_000;

impl Tracking {
    /// Begins a file of `parts` parts; returns the upload's id, which nobody can guess.
    ///
    /// # Errors
    /// [`TrackingError::BadPath`]; [`TrackingError::Invalid`] for no parts, or more than [`UPLOAD_PARTS_MAX`].
    pub fn begin_upload(&self, path: &str, parts: i64) -> Result<String, TrackingError> {
        if !(1..=i64::from(UPLOAD_PARTS_MAX)).contains(&parts) {
            let message = format!("'num_parts' must be between 1 and {UPLOAD_PARTS_MAX}, it is {parts}");
            return Err(TrackingError::Invalid(message));
        }
        self.check_new_file(path)?;
        // Two ids, because the first half of each tells the time.
        let id = format!("{}{}", self.ids.next(), self.ids.next());
        let now = self.clock.now();
        self.store.catalog().write::<_, TrackingError>(|tx| {
            let sql = "INSERT INTO uploads (upload_id, path, parts, created_us) VALUES ($1, $2, $3, $4)";
            Ok(tx.execute(sql, &[Value::from(&id), path.into(), parts.into(), now.into()])?)
        })?;
        Ok(id)
    }

    /// Whether an upload waits for a part of this number, from 1.
    ///
    /// # Errors
    /// [`TrackingError::Missing`], [`TrackingError::Invalid`].
    pub fn check_upload_part(&self, upload_id: &str, part: u32) -> Result<(), TrackingError> {
        let sql = "SELECT parts FROM uploads WHERE upload_id = $1";
        let row = self.store.catalog().read::<_, TrackingError>(|tx| Ok(tx.query_one(sql, &[upload_id.into()])?))?;
        let parts = row.ok_or_else(|| no_upload(upload_id))?.int(0)?;
        if (1..=parts).contains(&i64::from(part)) {
            Ok(())
        } else {
            Err(TrackingError::Invalid(format!("the upload has parts 1 to {parts}, not {part}")))
        }
    }

    /// Keeps a part whose bytes are stored; one that comes again replaces the first.
    ///
    /// # Errors
    /// [`TrackingError::Missing`] if there is no such upload, or no more.
    pub fn put_upload_part(
        &self,
        upload_id: &str,
        part: u32,
        blob: ContentHash,
        bytes: u64,
    ) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let sql = "SELECT 1 FROM uploads WHERE upload_id = $1";
            tx.query_one(sql, &[upload_id.into()])?.ok_or_else(|| no_upload(upload_id))?;
            tx.execute(
                "INSERT INTO upload_parts (upload_id, part, blob, bytes) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (upload_id, part) DO UPDATE SET blob = excluded.blob, bytes = excluded.bytes",
                &[upload_id.into(), part.into(), blob.into(), bytes.into()],
            )?;
            Ok(())
        })
    }

    /// Puts a file together from all of its parts and gives it its path. `told` are the parts as the client knows
    /// them, each with the hash that it was answered.
    ///
    /// # Errors
    /// [`TrackingError::Missing`]; [`TrackingError::Invalid`] if a part is not there, or is another one, or if the file
    /// belongs to another path than `path`, or is larger than `bytes_max`.
    pub fn complete_upload(
        &self,
        upload_id: &str,
        path: &str,
        told: &[(u32, String)],
        bytes_max: u64,
    ) -> Result<(), TrackingError> {
        let (wanted, parts) = self.upload(upload_id)?;
        if wanted != path {
            return Err(no_upload(upload_id));
        }
        let invalid = |message: String| Err(TrackingError::Invalid(message));
        if told.len() != parts.len() {
            return invalid(format!(
                "the upload has {} parts of those that were announced, {} were named",
                parts.iter().flatten().count(),
                told.len()
            ));
        }
        let (mut blobs, mut total) = (Vec::with_capacity(parts.len()), 0_u64);
        for (at, part) in parts.iter().enumerate() {
            let number = at as u32 + 1;
            let Some((blob, bytes)) = part else { return invalid(format!("part {number} of the upload is missing")) };
            let same = told.iter().any(|(n, tag)| *n == number && tag.trim_matches('"') == blob.to_hex());
            if !same {
                return invalid(format!("part {number} of the upload is not the one that was named"));
            }
            total = total.saturating_add(*bytes);
            blobs.push((*blob, *bytes));
        }
        if total > bytes_max {
            return invalid(format!("the file has {total} bytes, more than the {bytes_max} allowed"));
        }
        let (blob, bytes) = match blobs[..] {
            [one] => one,
            _ => self.joined(&blobs)?,
        };
        let now = self.clock.now();
        self.store.catalog().write(|tx| {
            files::check_place(tx, path)?;
            files::put(tx, path, blob, bytes, now)?;
            let gone = tx.execute("DELETE FROM uploads WHERE upload_id = $1", &[upload_id.into()])?;
            // Somebody else completed or aborted it meanwhile.
            if gone == 1 { Ok(()) } else { Err(no_upload(upload_id)) }
        })
    }

    /// Forgets an upload and its parts.
    ///
    /// # Errors
    /// [`TrackingError::Missing`].
    pub fn abort_upload(&self, upload_id: &str, path: &str) -> Result<(), TrackingError> {
        self.store.catalog().write(|tx| {
            let sql = "DELETE FROM uploads WHERE upload_id = $1 AND path = $2";
            let gone = tx.execute(sql, &[upload_id.into(), path.into()])?;
            if gone == 1 { Ok(()) } else { Err(no_upload(upload_id)) }
        })
    }

    /// The path of an upload and its parts, in order; nothing for one that did not come.
    #[expect(clippy::type_complexity, reason = "a path and a list of parts")]
    fn upload(&self, upload_id: &str) -> Result<(String, Vec<Option<(ContentHash, u64)>>), TrackingError> {
        self.store.catalog().read(|tx| {
            let row = tx.query_one("SELECT path, parts FROM uploads WHERE upload_id = $1", &[upload_id.into()])?;
            let row = row.ok_or_else(|| no_upload(upload_id))?;
            let mut parts = vec![None; row.int(1)? as usize];
            let sql = "SELECT part, blob, bytes FROM upload_parts WHERE upload_id = $1";
            for part in tx.query(sql, &[upload_id.into()])? {
                if let Some(place) = parts.get_mut(part.int(0)? as usize - 1) {
                    *place = Some((part.hash(1)?, part.int(2)? as u64));
                }
            }
            Ok((row.text(0)?, parts))
        })
    }

    fn joined(&self, parts: &[(ContentHash, u64)]) -> Result<(ContentHash, u64), TrackingError> {
        let mut writer = self.store.blobs().writer()?;
        for (blob, _) in parts {
            let mut reader = self.store.blobs().reader(blob, None)?;
            while let Some(piece) = reader.piece()? {
                writer.write_all(&piece).map_err(|error| StoreError::writing(writer.path(), error))?;
            }
        }
        Ok(writer.finish()?)
    }
}

fn no_upload(upload_id: &str) -> TrackingError {
    TrackingError::Missing(format!("there is no upload `{}` of this file", cut(upload_id)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plinth_core::{FixedClock, TrackingLimits, UuidIds};
    use plinth_store::{Access, Store};

    use super::*;

    #[test]
    fn a_file_appears_when_all_of_its_parts_are_named_rightly() {
        let dir = tempfile::tempdir().unwrap();
        let store =
            Arc::new(Store::open_with(dir.path(), plinth_test_catalog::url().as_deref(), Access::Shared).unwrap());
        let tracking = Tracking::new(store, Arc::new(FixedClock::at(1)), Arc::new(UuidIds), TrackingLimits::default());
        assert!(tracking.begin_upload("../x", 1).is_err());
        assert!(tracking.begin_upload("1/x", 0).is_err() && tracking.begin_upload("1/x", 10_001).is_err());
        let id = tracking.begin_upload("1/x", 2).unwrap();
        assert!(tracking.check_upload_part(&id, 3).is_err() && tracking.check_upload_part("no", 1).is_err());
        let mut told = Vec::new();
        for (part, bytes) in [(2, "world"), (1, "lost"), (1, "hello ")] {
            let blob = tracking.store().blobs().put(bytes.as_bytes()).unwrap();
            tracking.put_upload_part(&id, part, blob, bytes.len() as u64).unwrap();
            told.push((part, format!("\"{}\"", blob.to_hex())));
        }
        let complete = |path: &str, told: &[_], most| tracking.complete_upload(&id, path, told, most);
        assert!(complete("1/x", &told[..2], 100).is_err(), "part 1 was replaced");
        told.remove(1);
        assert!(complete("1/y", &told, 100).is_err() && complete("1/x", &told[..1], 100).is_err());
        assert!(complete("1/x", &told, 10).is_err(), "too large");
        assert!(tracking.file("1/x").is_err());
        complete("1/x", &told, 11).unwrap();
        let file = tracking.file("1/x").unwrap();
        assert_eq!(tracking.store().blobs().get(&file.blob).unwrap(), b"hello world");
        assert!(complete("1/x", &told, 11).is_err(), "twice");
        let id = tracking.begin_upload("1/z", 1).unwrap();
        assert!(tracking.abort_upload(&id, "1/x").is_err());
        tracking.abort_upload(&id, "1/z").unwrap();
        let blob = tracking.store().blobs().put(b"late").unwrap();
        assert!(tracking.put_upload_part(&id, 1, blob, 4).is_err());
    }
}
