//! `minigpt firmware`: images read back, figures, mistakes, and boards under QEMU.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ihex::{Reader, Record};
use minigpt_trainer::export;
use minigpt_trainer::inference::ModelBytes;
use object::{Object, ObjectSection, ObjectSegment, read::elf::ElfFile32};
use tempfile::TempDir;

use crate::{MINIGPT, SMALL, assert_refused, directory, stderr};

/// Where the flash of `mps2-an385` begins, and where its models lie.
const FLASH: u32 = 0;
const MODEL: u32 = 0x20000;

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(MINIGPT)
        .current_dir(dir)
        .args(args)
        .output()
        .unwrap()
}

/// A file of `tests/data/format`.
fn format_file(name: &str) -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/format");
    data.join(name)
}

fn model() -> String {
    format_file("v1-q8-bpe.mgpt").display().to_string()
}

/// An image of the model for `board`, called `name`, and what was said.
fn image(dir: &Path, board: &str, name: &str) -> (Vec<u8>, String) {
    let output = run(
        dir,
        &[
            "firmware",
            "--board",
            board,
            "--model",
            &model(),
            "-o",
            name,
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    (fs::read(dir.join(name)).unwrap(), stderr(&output))
}

/// Bytes by address of what an ELF loads.
fn elf_bytes(elf: &[u8]) -> BTreeMap<u32, u8> {
    let file = ElfFile32::<object::Endianness>::parse(elf).unwrap();
    let mut flash = BTreeMap::new();
    for segment in file.segments() {
        use object::read::elf::ProgramHeader;
        let start = segment.elf_program_header().p_paddr(file.endian());
        flash.extend((start..).zip(segment.data().unwrap().iter().copied()));
    }
    flash
}

/// Bytes by address of an Intel HEX file, whose checksums the reader checks.
fn hex_bytes(text: &str) -> BTreeMap<u32, u8> {
    let (mut flash, mut upper, mut ended) = (BTreeMap::new(), 0, false);
    for record in Reader::new(text) {
        match record.unwrap() {
            Record::ExtendedLinearAddress(address) => upper = u32::from(address) << 16,
            Record::Data { offset, value } => {
                flash.extend((upper + u32::from(offset)..).zip(value));
            }
            Record::EndOfFile => ended = true,
            other => panic!("{other:?}"),
        }
    }
    assert!(ended);
    flash
}

/// Bytes by address of a UF2 file for the chips of `family`.
fn uf2_bytes(bytes: &[u8], family: u32) -> BTreeMap<u32, u8> {
    let n = (bytes.len() / 512) as u32;
    assert_eq!(bytes.len() % 512, 0);
    let mut flash = BTreeMap::new();
    for (i, block) in (0..).zip(bytes.chunks(512)) {
        let word = |at: usize| u32::from_le_bytes(block[at..][..4].try_into().unwrap());
        let numbers = [0, 4, 8, 16, 20, 24, 28, 508].map(word);
        let magic = [
            0x0A32_4655,
            0x9E5D_5157,
            0x2000,
            256,
            i,
            n,
            family,
            0x0AB1_6F30,
        ];
        assert_eq!(numbers, magic);
        assert_eq!(word(12) % 256, 0);
        flash.extend((word(12)..).zip(block[32..][..256].iter().copied()));
    }
    flash
}

#[test]
fn every_format_holds_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let (elf, said) = image(dir.path(), "mps2-an385", "a.elf");
    let flash = elf_bytes(&elf);
    let file = fs::read(model()).unwrap();
    for (address, byte) in (MODEL..).zip(&file) {
        assert_eq!(flash[&address], *byte, "{address:#x}");
    }
    let (bin, _) = image(dir.path(), "mps2-an385", "a.bin");
    assert_eq!(bin.len(), MODEL as usize - FLASH as usize + file.len());
    for (address, byte) in (FLASH..).zip(&bin) {
        assert_eq!(flash.get(&address).unwrap_or(&0xFF), byte, "{address:#x}");
    }
    let (hex, _) = image(dir.path(), "mps2-an385", "a.hex");
    assert_eq!(hex_bytes(&String::from_utf8(hex).unwrap()), flash);

    let program = flash.range(..MODEL).count();
    let grouped = |n: usize| match n {
        0..1000 => n.to_string(),
        _ => format!("{},{:03}", n / 1000, n % 1000),
    };
    for figure in [
        format!("{} of     131,072 bytes", grouped(program)),
        format!("{} of   4,063,232 bytes", grouped(file.len())),
        format!("{} free", "32 of          32 tokens").replace(" free", ""),
        format!("wrote a.elf: elf image of {} bytes", grouped(elf.len())),
    ] {
        assert!(said.contains(&figure), "{figure} is not in {said}");
    }
}

/// What of the model belongs on `board`: its bytes, or the same numbers in another order.
fn stored(board: &str) -> Vec<u8> {
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("firmware/boards");
    let text = fs::read_to_string(boards.join(format!("{board}.toml"))).unwrap();
    let model = ModelBytes::open(Path::new(&model())).unwrap();
    match toml::from_str::<toml::Table>(&text).unwrap().get("weights") {
        Some(weights) if weights[0].as_str() == Some("q8-dsp") => {
            let file = model.file().unwrap();
            export::reordered(&file).unwrap().bytes().to_vec()
        }
        _ => model.bytes().to_vec(),
    }
}

#[test]
fn debuggers_find_the_model_as_a_section() {
    let dir = TempDir::new().unwrap();
    let output = run(dir.path(), &["firmware", "--list"]);
    let list = String::from_utf8(output.stdout).unwrap();
    let boards = list
        .lines()
        .skip(1)
        .map_while(|line| line.split(' ').next());
    let boards: Vec<_> = boards.take_while(|name| !name.is_empty()).collect();
    assert!(boards.len() >= 6, "{list}");
    for board in boards {
        let (elf, _) = image(dir.path(), board, &format!("{board}.elf"));
        let file = ElfFile32::<object::Endianness>::parse(&*elf).unwrap();
        let section = file.section_by_name(".model").unwrap();
        assert_eq!(section.data().unwrap(), stored(board), "{board}");
        let whole = file
            .segments()
            .find(|segment| segment.address() == section.address());
        assert_eq!(whole.unwrap().file_range(), section.file_range().unwrap());
        let text = file.section_by_name(".text").unwrap();
        assert!(
            elf_bytes(&elf).contains_key(&(file.entry() as u32 & !1)),
            "{board}"
        );
        assert!(text.size() > 1000, "{board}");
    }
}

/// The formats of a board differ in program and model: each model is joined with the program that runs it.
#[test]
fn a_q4_model_gets_a_program_of_its_own() {
    let dir = TempDir::new().unwrap();
    let q4 = format_file("v4-q4-bpe.mgpt");
    let model = fs::read(&q4).unwrap();
    for board in ["mps2-an385", "mps2-an500"] {
        let args = ["firmware", "--board", board, "-o", "q4.elf", "--model"];
        let output = run(dir.path(), &[&args[..], &[q4.to_str().unwrap()]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let flash = elf_bytes(&fs::read(dir.path().join("q4.elf")).unwrap());
        let placed: Vec<u8> = (MODEL..).map_while(|at| flash.get(&at).copied()).collect();
        assert_eq!(placed, model, "{board}");
        let (other, _) = image(dir.path(), board, "q8.elf");
        let other = elf_bytes(&other);
        let programs = [&flash, &other].map(|flash| flash.range(..MODEL).collect::<Vec<_>>());
        assert!(programs[0] != programs[1], "{board}");
    }
}

#[test]
fn a_boot_loader_that_takes_uf2_gets_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let (elf, _) = image(dir.path(), "pico", "a.elf");
    let (uf2, _) = image(dir.path(), "pico", "a.uf2");
    let mut flash = uf2_bytes(&uf2, 0xE48B_FF56);
    for (address, byte) in elf_bytes(&elf) {
        assert_eq!(flash.remove(&address), Some(byte), "{address:#x}");
    }
    assert!(flash.values().all(|byte| *byte == 0xFF));
}

/// Board, model and further arguments; the exit code, and words of the sentence.
type Mistake<'a> = (&'a str, &'a str, &'a [&'a str], i32, &'a [&'a str]);

#[test]
fn mistakes_are_one_sentence() {
    let dir = directory();
    let dir = dir.path();
    let good = fs::read(model()).unwrap();
    fs::write(dir.join("cut.mgpt"), &good[..good.len() - 1]).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(dir.join("flipped.mgpt"), flipped).unwrap();
    let exact = format_file("v1-f32-byte.mgpt").display().to_string();
    let model = model();
    let cases: [Mistake<'_>; 9] = [
        (
            "arduino",
            &model,
            &["-o", "a.elf"],
            2,
            &["there is no board arduino", "mps2-an500"],
        ),
        (
            "mps2-an500",
            "none.mgpt",
            &["-o", "a.elf"],
            2,
            &["no file none.mgpt"],
        ),
        (
            "mps2-an500",
            "cut.mgpt",
            &["-o", "a.elf"],
            1,
            &["cut.mgpt", "cut short"],
        ),
        (
            "mps2-an500",
            "flipped.mgpt",
            &["-o", "a.elf"],
            1,
            &["flipped.mgpt", "checksum"],
        ),
        (
            "mps2-an500",
            &exact,
            &["-o", "a.elf"],
            2,
            &["is f32", "runs q8", "--format q8"],
        ),
        (
            "mps2-an500",
            &model,
            &["-o", "a.uf2"],
            2,
            &["does not take uf2", "elf, bin, hex"],
        ),
        (
            "mps2-an500",
            &model,
            &["-o", "fish.txt"],
            2,
            &["fish.txt exists and is not an elf"],
        ),
        ("mps2-an500", &model, &["-o", "."], 2, &[". is a directory"]),
        ("mps2-an500", &model, &["-o", "no/a.elf"], 1, &["no/a.elf"]),
    ];
    for (board, model, args, code, words) in cases {
        let args = [&["firmware", "--board", board, "--model", model], args].concat();
        let output = run(dir, &args);
        let said = stderr(&output);
        let said = said.trim_end().lines().last().unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in: {said}");
        }
    }
    assert!(!dir.join("a.elf").exists() && !dir.join("a.uf2").exists());
    let fish = fs::read_to_string(dir.join("fish.txt")).unwrap();
    assert!(fish.starts_with("One fish"));
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_numbers() {
    let dir = directory();
    let dir = dir.path();
    let large = [
        "--set=n_embd=256",
        "--set=n_layer=1",
        "--set=n_head=2",
        "--set=n_ctx=16",
    ];
    let train = [
        "train",
        "--data",
        "fish.txt",
        "--steps",
        "1",
        "--batch",
        "1",
        "--threads",
        "1",
    ];
    let output = run(dir, &[&train[..], &large].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let bytes = fs::metadata(dir.join("runs/fish/model.mgpt"))
        .unwrap()
        .len();
    assert!((800_000..1_000_000).contains(&bytes));
    let args = [
        "firmware",
        "--board",
        "microbit",
        "--model",
        "runs/fish",
        "-o",
        "a.elf",
    ];
    let text = bytes.to_string();
    let grouped = format!("{},{}", &text[..3], &text[3..]);
    let few = bytes - 163_840;
    let few = format!("{},{} too few", few / 1000, &few.to_string()[3..]);
    let words = [
        &grouped,
        "holds 163,840",
        &few,
        "fit --board microbit",
        "mps2-an500",
    ];
    assert_refused(&run(dir, &args), 2, &words);

    // Small enough for the flash, too wide for the RAM: refused before the first step, and gone.
    fs::write(dir.join("words.txt"), crate::words()).unwrap();
    let wide = [
        "--set=n_embd=32",
        "--set=n_ff=256",
        "--set=n_ctx=4",
        "--tokenizer=bpe:2600",
    ];
    let tall = [
        "--set=n_layer=1",
        "--set=n_head=2",
        "--out=runs/wide",
        "--board=microbit",
    ];
    let train = [
        "train",
        "--data",
        "words.txt",
        "--steps",
        "1",
        "--batch",
        "1",
    ];
    let output = run(dir, &[&train[..], &wide, &tall].concat());
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in [
        "bytes of RAM",
        "--tokenizer bpe:",
        "minigpt fit --board microbit",
    ] {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert!(!dir.join("runs/wide").exists());
}

#[test]
fn training_ends_with_the_image() {
    let dir = directory();
    let dir = dir.path();
    let args = ["train", "--data", "fish.txt", "--board", "mps2-an385"];
    let output = run(dir, &[&args[..], &SMALL].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let flash = elf_bytes(&fs::read(dir.join("runs/fish/mps2-an385.elf")).unwrap());
    let model = fs::read(dir.join("runs/fish/model.mgpt")).unwrap();
    let placed: Vec<u8> = (MODEL..).map_while(|at| flash.get(&at).copied()).collect();
    assert_eq!(placed, model);
    // What was said before training is what came of it.
    let said = stderr(&output);
    let bytes = model.len();
    let before = format!("mps2-an385: up to {},{:03} of", bytes / 1000, bytes % 1000);
    assert!(said.contains(&before), "{before} is not in {said}");

    let output = run(dir, &["train", "--data", "fish.txt", "--board", "none"]);
    assert_refused(&output, 2, &["there is no board none"]);
}

/// Whether QEMU is here; required where `MINIGPT_REQUIRE` lists it.
fn has_qemu() -> bool {
    let found = Command::new("qemu-system-arm")
        .arg("--version")
        .output()
        .is_ok();
    let required = std::env::var("MINIGPT_REQUIRE").unwrap_or_default();
    assert!(found || !required.split(',').any(|kind| kind == "qemu"));
    found
}

fn boarded(board: &str, args: &[&str]) -> Output {
    boarded_with(&model(), board, args)
}

fn boarded_with(model: &str, board: &str, args: &[&str]) -> Output {
    let common = ["firmware", "--run", "--board", board, "--model", model];
    run(Path::new("."), &[&common[..], args].concat())
}

#[test]
fn a_board_tells_what_the_desktop_tells() {
    if !has_qemu() {
        return;
    }
    let how = [
        "--max-tokens=9",
        "--temperature=0.7",
        "--top-k=20",
        "--top-p=0.9",
        "--seed=5",
    ];
    let q4 = format_file("v4-q4-bpe.mgpt").display().to_string();
    for (model, board) in [
        (model(), "mps2-an385"),
        (q4.clone(), "mps2-an385"),
        (q4, "mps2-an500"),
    ] {
        let desktop = ["generate", &model, "--kv=q8", "--prompt", " the then"];
        let desktop = run(Path::new("."), &[&desktop[..], &how].concat());
        let prompt = &["--prompt", " the then"];
        let told = boarded_with(&model, board, &[prompt, &how[..]].concat());
        let said = stderr(&told);
        assert!(told.status.success(), "{said}");
        assert_eq!(
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&desktop.stdout)
        );
        assert!(said.contains("9 tokens after "), "{said}");
        assert!(!said.contains("seed"), "{said}");
    }
    assert!(stderr(&boarded("mps2-an385", &["--prompt", "e"])).starts_with("seed "));
}

#[test]
fn a_text_that_begins_with_nothing_is_the_same_too() {
    if !has_qemu() {
        return;
    }
    let dir = directory();
    // Its tokenizer has no start token.
    let bytes = format_file("v1-f32-byte.mgpt").display().to_string();
    let export = ["export", &bytes, "--format=q8", "-o", "b.mgpt"];
    assert!(run(dir.path(), &export).status.success());
    let how = [
        "--prompt=",
        "--max-tokens=20",
        "--temperature=1",
        "--seed=5",
    ];
    let desktop = ["generate", "b.mgpt", "--kv=q8"];
    let desktop = run(dir.path(), &[&desktop[..], &how].concat());
    let board = ["firmware", "--run", "--board=mps2-an385", "--model=b.mgpt"];
    let board = run(dir.path(), &[&board[..], &how].concat());
    assert!(board.status.success(), "{}", stderr(&board));
    assert_eq!(
        String::from_utf8_lossy(&board.stdout),
        String::from_utf8_lossy(&desktop.stdout)
    );
}

#[test]
fn the_figures_are_those_of_the_board() {
    if !has_qemu() {
        return;
    }
    let model = model();
    let mut child = Command::new(MINIGPT)
        .args([
            "firmware", "--run", "--board", "microbit", "--model", &model,
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    let lines = b"/info\n/seed x\n/max-tokens 3\n the";
    child.stdin.take().unwrap().write_all(lines).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(output.stdout.starts_with(b" the") && output.stdout.ends_with(b"\n"));
    let figure = |line: &str, name: &str| -> Vec<String> {
        let line = said.lines().find(|l| l.contains(line)).unwrap();
        let words = line.split(name).nth(1).unwrap().split_whitespace();
        let numbers = words.filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
        numbers
            .take(2)
            .map(|word| word.replace([',', ';'], ""))
            .collect()
    };
    assert_eq!(
        figure("board microbit", "arena "),
        figure("  arena", "arena ")
    );
    assert_eq!(
        figure("board microbit", "context "),
        figure("  context", "context ")
    );
    assert!(said.contains("error: this needs a number"), "{said}");
    // A last line without an end is one line.
    assert_eq!(said.matches("3 tokens after").count(), 1, "{said}");
}

#[test]
fn what_a_board_refuses_ends_in_one_sentence() {
    if !has_qemu() {
        return;
    }
    let long = "the ".repeat(80);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--prompt", &long], 1, "mps2-an500: "),
        (&["--prompt", "/info"], 2, "--prompt begins with /"),
        (&["--prompt", "one\ntwo"], 2, "--prompt has an end of line"),
        (&["--prompt", "a", "--top-k", "65"], 2, "top-k is 65"),
        (
            &["--prompt", "a", "--temperature", "-1"],
            2,
            "temperature is -1",
        ),
        (
            &["--prompt", "a", "--temperature", "0.00000012345"],
            2,
            "9 of them behind the point",
        ),
        (&["--prompt", "a", "--seed", "-1"], 2, "--seed is -1"),
    ];
    for (args, code, words) in cases {
        let output = boarded("mps2-an500", args);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.lines().last().unwrap().contains(words),
            "{words} is not in {said}"
        );
        assert!(output.stdout.is_empty());
    }
}

#[cfg(unix)]
#[test]
fn a_missing_qemu_is_named_with_its_package() {
    let output = Command::new(MINIGPT)
        .args([
            "firmware",
            "--run",
            "--board",
            "mps2-an500",
            "--prompt",
            "a",
            "--seed",
            "1",
        ])
        .args(["--model", &model()])
        .env("PATH", "")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    let last = said.lines().last().unwrap();
    assert!(last.contains("qemu-system-arm is not installed"), "{last}");
    assert!(last.contains("apt-get install"), "{last}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_board_and_program() {
    if !has_qemu() {
        return;
    }
    use std::io::Read;
    let mut child = Command::new(MINIGPT)
        .args([
            "firmware",
            "--run",
            "--board",
            "mps2-an500",
            "--model",
            &model(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    let mut input = child.stdin.take().unwrap();
    input.write_all(b" the\n").unwrap();
    // The board is there once its text is.
    let mut text = [0; 4];
    child
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut text)
        .unwrap();
    let id = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).ends_with("minigpt: stopped\n"));
    drop(input);
}
