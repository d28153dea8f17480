//! Program and model as one image: what lies where, and the formats that say it.

mod elf;

use std::collections::BTreeMap;

use ihex::Record;
use minigpt_runtime::Format;

use crate::board::{Board, ImageFormat};
use crate::failure::Failure;

/// What flash reads as where nothing is written.
const ERASED: u8 = 0xFF;

/// Bytes of data in a line of Intel HEX.
const HEX_LINE: usize = 16;

/// Bytes of flash in a block of UF2; boot loaders want the address to be a multiple of it.
const UF2_PAYLOAD: usize = 256;

/// Bytes that go to an address.
type Piece<'a> = (u32, &'a [u8]);

/// What is to be in the flash of a board.
pub(crate) struct Image<'a> {
    board: &'a Board,
    program: &'a [u8],
    model: &'a [u8],
    /// Of program and model.
    pieces: Vec<Piece<'a>>,
}

impl<'a> Image<'a> {
    /// The program of `board` for `format` with the file `model` of that format, which fits it.
    pub(crate) fn new(board: &'a Board, format: Format, model: &'a [u8]) -> Result<Self, Failure> {
        let program = board.program(format)?;
        let mut pieces = elf::pieces(program)
            .map_err(|error| Failure::Failed(format!("the program of {board}: {error}")))?;
        pieces.push((board.model.start, model));
        pieces.sort_by_key(|(address, _)| *address);
        Ok(Self {
            board,
            program,
            model,
            pieces,
        })
    }

    /// Bytes of flash that the program takes.
    pub(crate) fn program_bytes(&self) -> u64 {
        let all: usize = self.pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        (all - self.model.len()) as u64
    }

    /// The bytes of an image file.
    pub(crate) fn write(&self, format: ImageFormat) -> Result<Vec<u8>, Failure> {
        match format {
            ImageFormat::Elf => elf::join(self.program, self.board.model.start, self.model)
                .map_err(|error| {
                    Failure::Failed(format!("the program of {}: {error}", self.board))
                }),
            ImageFormat::Bin => Ok(self.bin()),
            ImageFormat::Hex => self.hex(),
            ImageFormat::Uf2 => self.uf2(),
        }
    }

    fn bin(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (address, bytes) in &self.pieces {
            let at = (address - self.board.flash.start) as usize;
            out.resize(at, ERASED);
            out.extend_from_slice(bytes);
        }
        out
    }

    fn hex(&self) -> Result<Vec<u8>, Failure> {
        let mut records = Vec::new();
        let mut upper = None;
        for (start, bytes) in &self.pieces {
            let mut address = *start;
            let mut rest = *bytes;
            while !rest.is_empty() {
                if upper != Some(address >> 16) {
                    upper = Some(address >> 16);
                    records.push(Record::ExtendedLinearAddress((address >> 16) as u16));
                }
                let offset = address as u16;
                // A line never crosses from one 64 KB to the next.
                let len = HEX_LINE - usize::from(offset) % HEX_LINE;
                let (value, after) = rest.split_at(len.min(rest.len()));
                records.push(Record::Data {
                    offset,
                    value: value.to_vec(),
                });
                address += value.len() as u32;
                rest = after;
            }
        }
        records.push(Record::EndOfFile);
        let text = ihex::create_object_file_representation(&records);
        let text = text.map_err(|error| Failure::Failed(format!("Intel HEX: {error}")))?;
        Ok((text + "\n").into_bytes())
    }

    /// Blocks as <https://github.com/microsoft/uf2> describes them.
    fn uf2(&self) -> Result<Vec<u8>, Failure> {
        let family = self.board.uf2_family.ok_or_else(|| {
            Failure::Failed(format!(
                "the file of board {} has no uf2_family",
                self.board
            ))
        })?;
        let mut pages: BTreeMap<u32, [u8; UF2_PAYLOAD]> = BTreeMap::new();
        for (start, bytes) in &self.pieces {
            for (address, byte) in (*start..).zip(*bytes) {
                let at = address % UF2_PAYLOAD as u32;
                let page = pages.entry(address - at).or_insert([ERASED; UF2_PAYLOAD]);
                page[at as usize] = *byte;
            }
        }
        let n = pages.len() as u32;
        let blocks = (0u32..).zip(pages);
        Ok(blocks
            .flat_map(|(i, (address, page))| uf2_block(i, n, address, &page, family))
            .collect())
    }
}

/// Block `i` of `n`, for the flash at `address`.
fn uf2_block(i: u32, n: u32, address: u32, page: &[u8; UF2_PAYLOAD], family: u32) -> [u8; 512] {
    const START: [u32; 2] = [0x0A32_4655, 0x9E5D_5157];
    const END: u32 = 0x0AB1_6F30;
    const HAS_FAMILY: u32 = 0x2000;
    let words = [
        START[0],
        START[1],
        HAS_FAMILY,
        address,
        UF2_PAYLOAD as u32,
        i,
        n,
        family,
    ];
    let mut block = [0; 512];
    for (place, word) in block.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    block[32..][..UF2_PAYLOAD].copy_from_slice(page);
    block[508..].copy_from_slice(&END.to_le_bytes());
    block
}
