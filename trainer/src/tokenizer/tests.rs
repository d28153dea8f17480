use minigpt_runtime::tokenizer::TokenizeError;

use super::*;
use crate::bpe::learn;

/// Text of several chunks with all that words, spaces and broken characters can be.
fn mixture(len: usize) -> Vec<u8> {
    const PARTS: [&[u8]; 20] = [
        b"the",
        b" the",
        b" there",
        b"'s",
        b" ",
        b"  ",
        b"\n",
        b"\r\n\t",
        b"12",
        b"!?",
        b"a",
        "\u{a0}".as_bytes(),
        "é".as_bytes(),
        " день".as_bytes(),
        "हिन्दी".as_bytes(),
        "日本".as_bytes(),
        "🙂".as_bytes(),
        b"\xff",
        b"\xe2\x82",
        b"\x80",
    ];
    let mut random = 7u32;
    let mut text = Vec::new();
    while text.len() < len {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(PARTS[(random >> 16) as usize % PARTS.len()]);
    }
    text
}

/// A file of llama2.c with these pieces behind the bytes.
fn llama2c_file(pieces: &[(&str, f32)]) -> (Vec<u8>, usize) {
    let special = ["<unk>", "\n<s>\n", "\n</s>\n"].map(String::from);
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let mut file = 7u32.to_le_bytes().to_vec();
    let tokens = special.into_iter().chain(bytes).map(|text| (text, 0.0));
    let tokens = tokens.chain(
        pieces
            .iter()
            .map(|(text, score)| (text.to_string(), *score)),
    );
    for (text, score) in tokens {
        file.extend(score.to_le_bytes());
        file.extend((text.len() as u32).to_le_bytes());
        file.extend(text.as_bytes());
    }
    (file, 259 + pieces.len())
}

fn tokenizers() -> Vec<OwnedTokenizer> {
    let pieces = [
        (" ", -9.0),
        ("t", -9.0),
        ("h", -9.0),
        ("e", -9.0),
        ("a", -9.0),
        ("th", -2.0),
        (" t", -1.0),
        ("he", -3.0),
        (" the", -4.0),
        ("the", -4.0),
        ("  ", -5.0),
        ("aa", 0.0),
    ];
    let (file, n_vocab) = llama2c_file(&pieces);
    let mut across = pieces.to_vec();
    across.push(("e t", -0.5));
    across.push(("e ", -0.25));
    let (file_across, n_across) = llama2c_file(&across);
    vec![
        OwnedTokenizer::byte(),
        OwnedTokenizer::bpe(&[&mixture(20_000)], 600).unwrap(),
        OwnedTokenizer::llama2c(&file, n_vocab).unwrap(),
        OwnedTokenizer::llama2c(&file_across, n_across).unwrap(),
    ]
}

fn runtime(tokenizer: &OwnedTokenizer, text: &[u8]) -> Vec<u32> {
    let mut ids = vec![0; text.len() + 1];
    let n = tokenizer.view().encode(text, &mut ids).unwrap();
    ids.truncate(n);
    ids
}

fn in_threads<T: Send>(n: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build();
    pool.unwrap().install(work)
}

#[test]
fn files_encode_as_in_the_runtime() {
    for len in [0, 1, 300_000] {
        let mut text = mixture(len);
        text.truncate(len);
        for tokenizer in tokenizers() {
            let expected = runtime(&tokenizer, &text);
            for threads in [1, 3] {
                let ids = in_threads(threads, || tokenizer.encode_text(&text)).unwrap();
                assert!(
                    ids == expected,
                    "{} {len} {threads}",
                    tokenizer.view().kind()
                );
            }
        }
    }
}

#[test]
fn long_words_encode_as_in_the_runtime() {
    let run = vec![b'a'; 100_000];
    let mixed: Vec<u8> = mixture(60_000)
        .into_iter()
        .filter(u8::is_ascii_lowercase)
        .collect();
    for text in [&run, &mixed] {
        for tokenizer in tokenizers() {
            assert!(tokenizer.encode_text(text).unwrap() == runtime(&tokenizer, text));
        }
    }
}

#[test]
fn slabs_of_any_size_are_the_whole() {
    let mut text = mixture(3_000);
    text.extend(b"\n<|endoftext|>\nanother, a shorter one<|endoftext|>");
    text.extend(mixture(500));
    for tokenizer in tokenizers() {
        let specials = tokenizer.view().specials();
        let frame = specials.bos.map(|bos| (Some(bos), specials.eos));
        let expected = tokenizer.encode_documents(&text).unwrap();
        for size in [1, 7, 1000, 1 << 20] {
            let mut ids = Vec::new();
            let slabs = tokenizer.slabs(&text, frame, size, &mut |slab| {
                ids.extend_from_slice(slab);
                Ok::<_, TokenizeError>(())
            });
            slabs.unwrap();
            assert!(ids == expected, "{} {size}", tokenizer.view().kind());
        }
    }
}

#[test]
fn mistakes_in_later_slabs_have_their_place_in_the_text() {
    let tokenizer = OwnedTokenizer::chars("añ").unwrap();
    let mut sink = |_: &[u32]| Ok::<_, TokenizeError>(());
    for size in [1, 3, 100] {
        let mut slabs = |text: &[u8]| tokenizer.slabs(text, None, size, &mut sink).unwrap_err();
        let unknown = TokenizeError::UnknownChar { ch: 'b', offset: 6 };
        assert_eq!(slabs("ññaab".as_bytes()), unknown);
        let broken = TokenizeError::InvalidUtf8 { offset: 5 };
        assert_eq!(slabs(b"\xc3\xb1aaa\xb1\xb1\xb1\xb1\xb1\xb1a"), broken);
    }
}

#[test]
fn learning_does_not_depend_on_threads() {
    let text = mixture(400_000);
    let one = in_threads(1, || learn(&[&text], 700)).unwrap();
    assert_eq!(one.texts.len(), 700);
    assert!(one == in_threads(4, || learn(&[&text], 700)).unwrap());
}

#[test]
fn learning_takes_the_most_frequent_pair_and_stops_early() {
    let tables = learn(&[b"aaab aab"], 300).unwrap();
    // Counts: aa 3, ab 2. Then `aa|a` 1, `aa|b` 1 and ` |aa` 1 in the order of their tokens.
    let made: Vec<&[u8]> = tables.texts[260..].iter().map(Vec::as_slice).collect();
    assert_eq!(made[..2], [&b"aa"[..], b"ab"]);
    assert!(tables.texts.len() < 300);
    assert_eq!(learn(&[], 4096).unwrap().texts.len(), 260);
    let error = learn(&[], 259).unwrap_err().to_string();
    assert!(error.contains("259") && error.contains("260"), "{error}");
}

#[test]
fn documents_stand_between_bos_and_eos() {
    let text = b"one\n<|endoftext|>\ntwo\n\n<|endoftext|>three<|endoftext|>\n";
    let parts: Vec<&[u8]> = documents(text).collect();
    assert_eq!(parts, [&b"one"[..], b"two\n", b"three"]);
    let [byte, bpe, llama, _] = tokenizers().try_into().unwrap();
    assert_eq!(byte.encode_documents(text).unwrap().len(), text.len());
    for (tokenizer, bos, eos) in [(bpe, 2, 3), (llama, 1, 2)] {
        let mut expected = Vec::new();
        for part in parts.iter() {
            expected.push(bos);
            expected.extend(runtime(&tokenizer, part));
            expected.push(eos);
        }
        assert_eq!(tokenizer.encode_documents(text).unwrap(), expected);
    }
    // The marker is no text to learn from.
    let learned = OwnedTokenizer::bpe(&[&b"<|endoftext|>".repeat(9)], 300).unwrap();
    assert_eq!(learned.view().n_vocab(), 260);
}

/// GPT-2's layout: bytes, merges, and last the one special token.
#[test]
fn tables_of_gpt2_fit() {
    let mut texts: Vec<Vec<u8>> = bpe::gpt2_byte_order().map(|b| vec![b]).collect();
    let mut byte_ids = [0; 256];
    for (id, text) in (0..).zip(&texts) {
        byte_ids[usize::from(text[0])] = id;
    }
    let [space, t, h] = [b' ', b't', b'h'].map(|byte| byte_ids[usize::from(byte)]);
    let merges = [((space, t), (0, 256)), ((256, h), (1, 257))].into();
    texts.extend([&b" t"[..], b" th", END_OF_TEXT].map(<[u8]>::to_vec));
    let end = Some(258);
    let specials = minigpt_runtime::Specials {
        bos: end,
        eos: end,
        ..Default::default()
    };
    let tokenizer = OwnedTokenizer::from_bpe(&BpeTables {
        specials,
        texts,
        byte_ids,
        merges,
    })
    .unwrap();
    let ids = tokenizer.encode_documents(b" th<|endoftext|>t").unwrap();
    assert_eq!(ids, [258, 257, 258, t]);
    // Text that spells a special token stays text.
    let spelled = tokenizer.encode_text(END_OF_TEXT).unwrap();
    assert!(!spelled.contains(&258));
    assert_eq!(
        tokenizer.view().token_bytes(258, &mut [0; 4]),
        Some(&[][..])
    );
}

#[test]
fn characters_are_those_of_the_text() {
    let tokenizer = OwnedTokenizer::chars("bañb").unwrap();
    assert_eq!(tokenizer.encode_text("ñab".as_bytes()).unwrap(), [2, 0, 1]);
    let error = tokenizer.encode_text(b"abc").unwrap_err().to_string();
    assert!(error.contains("'c' at byte 2"), "{error}");
    assert_eq!(OwnedTokenizer::chars("").unwrap_err(), Error::NoChars);
}

#[test]
fn bytes_come_back_and_damage_is_an_error() {
    for tokenizer in tokenizers() {
        let bytes = tokenizer.bytes().to_vec();
        assert!(OwnedTokenizer::from_bytes(bytes.clone()).unwrap() == tokenizer);
        let longer = [&bytes[..], &[0]].concat();
        assert!(OwnedTokenizer::from_bytes(longer).is_err());
        for len in (0..bytes.len()).step_by(97) {
            assert!(OwnedTokenizer::from_bytes(bytes[..len].to_vec()).is_err());
        }
    }
}

#[test]
fn foreign_llama2c_files_are_errors() {
    let (file, n_vocab) = llama2c_file(&[(" ", 0.0), ("a", -1.0)]);
    let message = |file: &[u8], n_vocab| {
        let error = OwnedTokenizer::llama2c(file, n_vocab).unwrap_err();
        assert!(matches!(error, Error::Llama2c(_)));
        error.to_string()
    };
    for len in 0..file.len() {
        assert!(message(&file[..len], n_vocab).contains("truncated"));
    }
    assert!(message(&file, n_vocab + 1).contains("inside token 261 of 262"));
    assert!(message(&file, n_vocab - 1).contains("9 bytes after its token 260"));
    let text = b"First Citizen: Before we proceed any further, hear me speak.";
    assert!(message(text, 512).contains("not a llama2.c tokenizer"));
    assert!(message(&llama2c_file(&[("a", 0.0)]).0, 260).contains("vocabulary"));
}
