use std::format;
use std::string::String;
use std::vec::Vec;

use super::super::PREFIX;
use super::super::golden::files;
use super::*;
use crate::kernels::tests::fresh_seed;
use crate::rng::Rng;

type Read<'a> = Result<(String, &'a [u8]), LoadError>;

fn ours(bytes: &[u8]) -> Read<'_> {
    let mut reader = Reader::new(bytes);
    let header = reader.header();
    Ok((format!("{header:?}"), reader.rest()?))
}

fn postcards(bytes: &[u8]) -> Read<'_> {
    match postcard::take_from_bytes::<Header<'_>>(bytes) {
        Ok((header, rest)) => Ok((format!("{header:?}"), rest)),
        Err(postcard::Error::DeserializeUnexpectedEnd) => Err(LoadError::Truncated),
        Err(_) => Err(LoadError::Malformed),
    }
}

#[test]
fn headers_are_read_as_postcard_reads_them() {
    let seed = fresh_seed();
    let mut rng = Rng::new(seed, 0);
    let (mut read, mut refused) = (0, 0);
    for (name, file) in files() {
        let header = &file[PREFIX..];
        let (_, rest) = postcards(header).unwrap();
        let len = header.len() - rest.len();
        for _ in 0..5_000 {
            let mut damaged: Vec<u8> = header[..len + 8].to_vec();
            for _ in 0..rng.next_below(4) {
                // Most of a header is tables, in which nothing is decoded.
                let at = match rng.next_below(2) {
                    0 => rng.next_below(len),
                    _ => rng.next_below(48),
                };
                damaged[at] = rng.next() as u8 >> rng.next_below(8);
            }
            damaged.truncate(len + 8 - rng.next_below(16));
            let (found, expected) = (ours(&damaged), postcards(&damaged));
            assert_eq!(found, expected, "seed {seed}: {name}: {damaged:?}");
            read += u32::from(found.is_ok());
            refused += u32::from(found.is_err());
        }
    }
    assert!(read > 1000 && refused > 1000, "{read}, {refused}");
}

#[test]
fn integers_end_where_they_must() {
    for (bytes, value) in [
        (&[0x80, 0x00][..], Some(0)),
        (&[0xFF, 0xFF, 0xFF, 0xFF, 0x0F], Some(u32::MAX)),
        (&[0xFF, 0xFF, 0xFF, 0xFF, 0x10], None),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], None),
        (&[0x80, 0x80], None),
    ] {
        let mut reader = Reader::new(bytes);
        let number = reader.number();
        let (found, expected) = (
            reader.rest().ok().map(|_| number),
            postcard::take_from_bytes::<u32>(bytes).ok().map(|(n, _)| n),
        );
        assert_eq!((found, expected), (value, value), "{bytes:?}");
    }
}

#[test]
fn a_program_names_what_it_was_built_without() {
    for (kind, feature, present) in [
        ("-char", "char", cfg!(feature = "char")),
        ("-bpe", "bpe", cfg!(feature = "bpe")),
        (
            "-sentencepiece",
            "sentencepiece",
            cfg!(feature = "sentencepiece"),
        ),
    ] {
        let all = files();
        let (_, file) = all.iter().find(|(name, _)| name.contains(kind)).unwrap();
        let absent = TokenizerError::Absent { feature };
        let absent = LoadError::Header(HeaderError::Tokenizer(absent));
        let found = ours(&file[PREFIX..]).map(|_| ());
        let expected = if present { Ok(()) } else { Err(absent) };
        assert_eq!(found, expected);
        let message = std::string::ToString::to_string(&absent);
        assert!(
            message.contains(&format!("without the feature {feature} ")),
            "{message}"
        );
    }
}
