//! As much of Thrift's compact form as is needed to look at the heads in a Parquet file before the library believes them:
//! structures are walked, and nothing is allocated.

/// How deep structures may be nested. Parquet's own go no deeper than seven.
const DEPTH_MAX: usize = 16;

/// Bytes that are being walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk<'a>(pub(crate) &'a [u8]);

/// A value as far as it is looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// Of any width.
    Whole(i64),
    /// The fields that follow, to be walked.
    Struct(Walk<'a>),
    /// How many items follow, of which type, and they themselves.
    List(usize, u8, Walk<'a>),
    /// Anything else.
    Other,
}

impl<'a> Walk<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.get(bytes..)?;
        Some(())
    }

    /// Walks over one structure and tells of each of its fields. Nothing if the bytes are none, or a field comes twice: who
    /// reads after us might take the other one.
    pub(crate) fn fields(&mut self, mut tell: impl FnMut(i64, Value<'a>)) -> Option<()> {
        self.fields_at(0, &mut tell)
    }

    fn fields_at(&mut self, depth: usize, tell: &mut dyn FnMut(i64, Value<'a>)) -> Option<()> {
        let mut id = 0_i64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            let next = match head >> 4 {
                0 => self.zigzag()?,
                step => id + i64::from(step),
            };
            if next <= id {
                return None;
            }
            id = next;
            let value = match head & 0x0f {
                // True and false are in the head.
                1 | 2 => Value::Other,
                kind => self.value(kind, depth)?,
            };
            tell(id, value);
        }
    }

    /// Walks over a value of a type.
    pub(crate) fn value(&mut self, kind: u8, depth: usize) -> Option<Value<'a>> {
        if depth > DEPTH_MAX {
            return None;
        }
        Some(match kind {
            // In a list, true and false are bytes.
            1..=3 => {
                self.byte()?;
                Value::Other
            }
            4..=6 => Value::Whole(self.zigzag()?),
            7 => {
                self.skip(8)?;
                Value::Other
            }
            8 => {
                let length = usize::try_from(self.varint()?).ok()?;
                self.skip(length)?;
                Value::Other
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => usize::try_from(self.varint()?).ok()?,
                    count => count.into(),
                };
                let items = *self;
                // Each item has a byte at least, so that a length alone costs nothing.
                for _ in 0..count {
                    self.value(head & 0x0f, depth + 1)?;
                }
                Value::List(count, head & 0x0f, items)
            }
            11 => {
                let count = self.varint()?;
                if count > 0 {
                    let kinds = self.byte()?;
                    for _ in 0..count {
                        self.value(kinds >> 4, depth + 1)?;
                        self.value(kinds & 0x0f, depth + 1)?;
                    }
                }
                Value::Other
            }
            12 => {
                let fields = *self;
                self.fields_at(depth + 1, &mut |_, _| {})?;
                Value::Struct(fields)
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_told_and_what_is_cut_nested_too_deep_or_told_twice_is_refused() {
        // Field 1: 5. Field 3: {1: -1}. Field 4: [7, 8]. Field 20: "ab".
        let bytes = [0x15, 10, 0x2c, 0x15, 1, 0, 0x19, 0x25, 14, 16, 0x08, 40, 2, b'a', b'b', 0, 99];
        let mut told = Vec::new();
        let mut walk = Walk(&bytes);
        let tell = |id: i64, value: Value<'_>| match value {
            Value::Whole(value) => told.push((id, value)),
            Value::Struct(mut inner) => inner
                .fields(|inner, value| {
                    if let Value::Whole(value) = value {
                        told.push((id * 10 + inner, value));
                    }
                })
                .unwrap(),
            Value::List(count, 5, _) => told.push((id, count as i64)),
            _ => told.push((id, 0)),
        };
        walk.fields(tell).unwrap();
        assert_eq!((told, walk.0), (vec![(1, 5), (31, -1), (4, 2), (20, 0)], &[99][..]));
        for end in 0..bytes.len() - 1 {
            assert!(Walk(&bytes[..end]).fields(|_, _| {}).is_none(), "{end}");
        }
        assert!(Walk(&[0x1c; 100]).fields(|_, _| {}).is_none());
        assert!(Walk(&[0x15, 2, 0x05, 2, 4, 0]).fields(|_, _| {}).is_none(), "field 1 comes twice");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Walk(&bytes).fields(|_, _| {});
        }
    }
}
