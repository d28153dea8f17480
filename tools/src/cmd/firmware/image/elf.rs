//! ELF: the pieces of a program, and the program with a model.

use object::build::elf::{Builder, Section, SectionData};
use object::read::elf::{ElfFile32, ElfSegment32, ProgramHeader};
use object::{Endianness, Object, ObjectSegment, elf};

use super::Piece;

/// Boundary of the model in the file; a multiple of what its weights need in memory.
const ALIGNMENT: u64 = 16;

/// What of `program` goes to flash, by the addresses at which it is stored there.
pub(super) fn pieces<'a>(program: &'a [u8]) -> object::Result<Vec<Piece<'a>>> {
    let file = ElfFile32::<Endianness>::parse(program)?;
    let piece = |segment: ElfSegment32<'a, '_, _>| {
        let address = segment.elf_program_header().p_paddr(file.endian());
        Ok((address, segment.data()?))
    };
    let pieces: object::Result<Vec<Piece<'_>>> = file.segments().map(piece).collect();
    Ok(pieces?
        .into_iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect())
}

/// `program` with `model` as one more segment, and as a section, by which debuggers know it.
pub(super) fn join(program: &[u8], address: u32, model: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = Builder::read32(program)?;
    // It says that the stack is not executable, means nothing without an operating system, and
    // leaves its place in the table to the model.
    for segment in builder.segments.iter_mut() {
        segment.delete |= segment.p_type == elf::PT_GNU_STACK;
    }
    // A linker script may put a section where its own alignment would not: then that is not its
    // alignment, and the writer insists on what a section says.
    for section in builder.sections.iter_mut().filter(|s| s.is_alloc()) {
        let alignment = 1
            << (section.sh_addr | section.sh_offset)
                .trailing_zeros()
                .min(63);
        section.sh_addralign = section.sh_addralign.min(alignment);
    }
    let stored = |section: &&Section<'_>| {
        section.is_alloc() && !matches!(section.data, SectionData::UninitializedData(_))
    };
    let stored = builder.sections.iter().filter(stored);
    let ends = stored.map(|section| section.sh_offset + section.sh_size);
    let end = ends.max().unwrap_or_default();
    let section = builder.sections.add();
    section.name = b".model"[..].into();
    section.sh_type = elf::SHT_PROGBITS;
    section.sh_flags = elf::SHF_ALLOC;
    section.sh_addr = address.into();
    section.sh_offset = end.next_multiple_of(ALIGNMENT);
    section.sh_size = model.len() as u64;
    section.sh_addralign = ALIGNMENT;
    section.data = SectionData::Data(model.into());
    let segment = builder.segments.add();
    segment.p_type = elf::PT_LOAD;
    segment.p_flags = elf::PF_R;
    segment.p_align = ALIGNMENT;
    segment.append_section_range(section);
    segment.sections.push(section.id());
    let mut out = Vec::new();
    builder.write(&mut out)?;
    Ok(out)
}
