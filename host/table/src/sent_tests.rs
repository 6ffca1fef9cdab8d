//! Files that are honest, that are strange, and that mean harm.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Date32Array, DictionaryArray, Float32Array, Int16Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, TimestampNanosecondArray, UInt64Array,
    cast::AsArray,
    types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, Encoding, ZstdLevel},
    file::properties::{WriterProperties, WriterPropertiesBuilder, WriterVersion},
};
use plinth_core::{Coded, codes};
use plinth_ext::{Batch, Kind};
use proptest::prelude::*;

use crate::{Bounds, Sent, TableError, sent::FOOTER_BYTES_MAX};

const BOUNDS: Bounds = Bounds { rows_max: 100_000, bytes_max: 4 << 20 };

fn file(columns: Vec<(&str, ArrayRef)>, with: WriterPropertiesBuilder) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(with.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

fn plain(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    file(columns, WriterProperties::builder())
}

/// The batches of the columns that are wanted.
fn read(bytes: &[u8], bounds: Bounds, wanted: &[usize]) -> Result<Vec<Batch>, TableError> {
    let mut batches = Vec::new();
    Sent::open(bytes.to_vec(), bounds)?.read(wanted, |batch| {
        batches.push(batch.clone());
        Ok::<_, TableError>(())
    })?;
    Ok(batches)
}

fn wholes(rows: i64) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(0..rows))
}

#[test]
fn foreign_types_come_as_what_is_nearest_to_them_and_only_what_is_wanted_is_read() {
    let nanos = TimestampNanosecondArray::from(vec![Some(-1), None]);
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), None]);
    let words: DictionaryArray<Int32Type> = vec!["red", "red"].into_iter().collect();
    let bytes = plain(vec![
        ("short", Arc::new(Int16Array::from(vec![Some(-7), None]))),
        ("list", Arc::new(list)),
        ("large", Arc::new(UInt64Array::from(vec![1, u64::MAX]))),
        ("day", Arc::new(Date32Array::from(vec![Some(1), None]))),
        ("nanos", Arc::new(nanos.with_timezone("Europe/Berlin"))),
        ("half", Arc::new(Float32Array::from(vec![0.5, f32::NAN]))),
        ("word", Arc::new(words)),
    ]);
    let sent = Sent::open(bytes.clone(), BOUNDS).unwrap();
    assert_eq!(sent.names().collect::<Vec<_>>(), ["short", "list", "large", "day", "nanos", "half", "word"]);
    let [batch] = &read(&bytes, BOUNDS, &[0, 2, 3, 4, 5, 6]).unwrap()[..] else { panic!("one batch") };
    let kinds: Vec<Kind> = batch.schema().fields().iter().map(|field| field.kind).collect();
    let time = Kind::TimestampUs;
    assert_eq!(kinds, [Kind::Int64, Kind::Float64, time, time, Kind::Float64, Kind::Utf8]);
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(-7), None]);
    assert_eq!(batch.column(1).as_primitive::<Float64Type>().value(1), 18_446_744_073_709_551_615.0);
    assert_eq!(batch.column(2).as_primitive::<TimestampMicrosecondType>().value(0), 86_400_000_000);
    assert_eq!(batch.column(3).as_primitive::<TimestampMicrosecondType>().value(0), -1, "rounded down");
    assert_eq!(batch.column(5).as_string::<i32>().value(1), "red");
    let error = read(&bytes, BOUNDS, &[1]).unwrap_err();
    assert!(error.code() == codes::BAD_TABLE && error.to_string().contains("`list"), "{error}");
}

#[test]
fn rows_come_whole_from_every_version_codec_and_encoding() {
    let words: Vec<String> = (0..20_000).map(|row| format!("word {}", row % 97)).collect();
    let columns =
        || -> Vec<(&str, ArrayRef)> { vec![("n", wholes(20_000)), ("w", Arc::new(StringArray::from(words.clone())))] };
    let zstd = Compression::ZSTD(ZstdLevel::try_new(3).unwrap());
    for (version, codec, encoding) in [
        (WriterVersion::PARQUET_1_0, Compression::SNAPPY, None),
        (WriterVersion::PARQUET_2_0, zstd, None),
        (WriterVersion::PARQUET_2_0, Compression::UNCOMPRESSED, Some(Encoding::DELTA_BYTE_ARRAY)),
        (WriterVersion::PARQUET_1_0, zstd, Some(Encoding::PLAIN)),
    ] {
        let mut with = WriterProperties::builder()
            .set_writer_version(version)
            .set_compression(codec)
            .set_max_row_group_row_count(Some(7_000));
        if let Some(encoding) = encoding {
            with = with.set_dictionary_enabled(false).set_column_encoding("w".into(), encoding);
        }
        let batches = read(&file(columns(), with), BOUNDS, &[0, 1]).unwrap();
        let found = batches.iter().flat_map(|batch| {
            batch.column(1).as_string::<i32>().iter().map(|word| word.unwrap().to_owned()).collect::<Vec<_>>()
        });
        assert!(found.eq(words.iter().cloned()), "{version:?} {codec:?} {encoding:?}");
        let numbers = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
        assert!(numbers.eq(0..20_000));
    }
}

#[test]
fn what_is_past_a_bound_is_refused_before_it_is_unpacked() {
    let told = |bytes: &[u8], bounds: Bounds| {
        let error = read(bytes, bounds, &[0]).unwrap_err();
        assert_eq!(error.code(), codes::LIMIT_EXCEEDED, "{error}");
        error.to_string()
    };
    let error = told(&plain(vec![("n", wholes(11))]), Bounds { rows_max: 10, ..BOUNDS });
    assert!(error.contains("11 rows, more than 10"), "{error}");
    // 16 MB of zeros in a few hundred bytes.
    let zeros: ArrayRef = Arc::new(StringArray::from(vec!["\0".repeat(1 << 24)]));
    let zstd = || WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
    let bomb = file(vec![("z", zeros)], zstd().set_dictionary_enabled(false).set_statistics_truncate_length(Some(8)));
    assert!(bomb.len() < 10_000, "{}", bomb.len());
    assert!(told(&bomb, BOUNDS).contains("bytes once it is unpacked"));
    assert_eq!(read(&bomb, Bounds { bytes_max: 1 << 25, ..BOUNDS }, &[0]).unwrap().len(), 1, "it is sound");
}

#[test]
fn a_large_value_that_many_rows_share_is_counted_each_time_and_never_multiplied_at_once() {
    let value = "x".repeat(1 << 20);
    let with = || WriterProperties::builder().set_statistics_truncate_length(Some(8)).set_max_row_group_row_count(None);
    // A gigabyte, were it multiplied; who writes the file hashes as much.
    let keys = Int32Array::from(vec![0; 1_000]);
    let shared = DictionaryArray::new(keys, Arc::new(StringArray::from(vec![value.clone()])));
    let dictionary = file(vec![("w", Arc::new(shared))], with().set_dictionary_page_size_limit(1 << 22));
    let repeated: ArrayRef = Arc::new(StringArray::from_iter_values((0..200).map(|_| &value)));
    let delta = with().set_dictionary_enabled(false).set_column_encoding("w".into(), Encoding::DELTA_BYTE_ARRAY);
    let prefixes = file(vec![("w", repeated)], delta);
    for bytes in [dictionary, prefixes] {
        assert!(bytes.len() < 3 << 20, "{}", bytes.len());
        let mut largest = 0;
        let mut rows = 0;
        let error = Sent::open(bytes, BOUNDS)
            .unwrap()
            .read(&[0], |batch| {
                largest = largest.max(batch.column(0).get_array_memory_size());
                rows += batch.num_rows();
                Ok::<_, TableError>(())
            })
            .unwrap_err();
        assert!(matches!(error, TableError::TooMuch { unit: "bytes once it is unpacked", .. }), "{error}");
        assert!(rows <= 4 && largest < 16 << 20, "{rows} rows, {largest} bytes at once");
    }
}

/// Whole numbers as Thrift's compact form has them.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A file of nothing but a footer.
fn footer(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_le_bytes();
    [b"PAR1", content, &length, b"PAR1"].concat()
}

#[test]
fn footers_that_lie_are_refused_with_a_reason() {
    let good = plain(vec![("n", wholes(3))]);
    let end = good.len() - 8;
    let with_length = |length: u32| [&good[..end], &length.to_le_bytes(), b"PAR1"].concat();
    // A column within a column within a column.
    let count = 100_000_u64;
    let element = [0x48, 1, b'a', 0x15, 2, 0];
    let deep = [&[0x15, 2, 0x19, 0xfc][..], &varint(count), &element.repeat(count as usize), &[0]].concat();
    let endless = [&[0x15, 2, 0x19, 0xfc][..], &varint(u64::MAX)].concat();
    for (bytes, words) in [
        (Vec::new(), "does not end as a parquet file does"),
        (b"PAR1PAR1".to_vec(), "does not end"),
        (good[..good.len() - 1].to_vec(), "does not end"),
        (with_length(u32::MAX), "does not end"),
        (with_length(1 << 20), "does not end"),
        (with_length(7), "its footer does not read"),
        (footer(&deep), "nested more than 32 deep"),
        (footer(&endless), "its footer does not read"),
        (footer(&[0x1c; 5_000]), "its footer does not read"),
        (footer(&[0]), "its footer does not read"),
        (footer(&vec![0; FOOTER_BYTES_MAX + 1]), "bytes of footer, more than"),
    ] {
        let error = Sent::open(bytes, BOUNDS).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn pages_that_lie_are_refused_with_a_reason() {
    let with = WriterProperties::builder().set_dictionary_enabled(false).set_compression(Compression::SNAPPY);
    let good = file(vec![("n", wholes(300))], with);
    // The head of the first page: its type, then how large it is unpacked: 2400 bytes of numbers.
    let at = 4;
    assert_eq!(good[at..at + 3], [0x15, 0, 0x15]);
    let size = varint(2_400 * 2);
    assert_eq!(good[at + 3..at + 3 + size.len()], size);
    let mut lying = good.clone();
    // It says less than comes.
    lying[at + 4] = 1;
    let error = read(&lying, BOUNDS, &[0]).unwrap_err();
    assert_eq!(error.code(), codes::BAD_TABLE, "{error}");
    // And more than there may be, although the file is small.
    let small = Bounds { bytes_max: 4_000, ..BOUNDS };
    assert!(read(&good, small, &[0]).is_ok());
    lying[at + 4] = 0x7f;
    assert_eq!(read(&lying, small, &[0]).unwrap_err().code(), codes::LIMIT_EXCEEDED);
    // Unpacked by what does not know how much is to come. After the column's name stands its packing.
    let name = [0x19, 0x18, 1, b'n', 0x15, 2];
    let at = good.windows(name.len()).position(|bytes| bytes == name).expect("the column's name and its packing");
    for packing in [4, 8, 10] {
        let mut lying = good.clone();
        lying[at + 5] = packing;
        let error = read(&lying, BOUNDS, &[0]).unwrap_err().to_string();
        assert!(error.contains("snappy, zstd and lz4_raw are read"), "{error}");
    }
    // More rows than the row group is said to have.
    let rows = varint(300 * 2);
    let places: Vec<usize> = (0..good.len() - 1).filter(|at| good[*at..*at + 2] == rows).collect();
    for place in places {
        let mut lying = good.clone();
        lying[place] ^= 2;
        let error = read(&lying, BOUNDS, &[0]).err();
        assert!(error.is_none_or(|error| error.code() == codes::BAD_TABLE), "{place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn no_damage_is_too_strange(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4), cut in 0..200_usize) {
        let words: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("bcd"), Some("a")]));
        let with = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let mut bytes = file(vec![("n", wholes(4)), ("w", words)], with);
        let length = bytes.len();
        for (at, with) in changes {
            bytes[at % length] = with;
        }
        if cut < 20 {
            bytes.remove(cut);
        }
        if let Ok(batches) = read(&bytes, BOUNDS, &[0, 1]) {
            prop_assert!(batches.iter().map(Batch::num_rows).sum::<usize>() <= 100_000);
        }
    }
}
