//! Parquet files: rows of columns, one of which holds texts.

use std::fs::File;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;

use super::DataError;
use super::sources::Sink;

/// Rows that are in memory at once.
const ROWS: usize = 1024;

/// Gives every text of the column `field` of the file at `path` to `sink`. Rows without one are
/// passed over.
pub(super) fn texts(path: &Path, field: &str, sink: Sink<'_>) -> Result<(), DataError> {
    let failed = |error: ParquetError| DataError::Parquet {
        path: path.to_owned(),
        message: error.to_string(),
    };
    let file = File::open(path).map_err(|error| DataError::Read {
        path: path.to_owned(),
        error,
    })?;
    let reader = SerializedFileReader::new(file).map_err(failed)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let columns = schema.columns();
    let index = columns
        .iter()
        .position(|column| column.path().string() == field && is_text(column))
        .ok_or_else(|| DataError::NoColumn {
            path: path.to_owned(),
            field: field.to_owned(),
            known: columns.iter().map(|column| describe(column)).collect(),
        })?;
    let most = columns[index].max_def_level();
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(failed)?;
        let column = group.get_column_reader(index).map_err(failed)?;
        let ColumnReader::ByteArrayColumnReader(mut column) = column else {
            continue; // is_text saw to it
        };
        loop {
            let (mut values, mut levels): (Vec<ByteArray>, Vec<i16>) = (Vec::new(), Vec::new());
            let optional = (most > 0).then_some(&mut levels);
            let read = column.read_records(ROWS, optional, None, &mut values);
            let (rows, ..) = read.map_err(failed)?;
            if rows == 0 {
                break;
            }
            for value in &values {
                let text = value.as_utf8().map_err(failed)?;
                sink(text)?;
            }
        }
    }
    Ok(())
}

/// Whether a column holds one text a row.
fn is_text(column: &ColumnDescriptor) -> bool {
    let marked = column.logical_type_ref() == Some(&LogicalType::String)
        || column.converted_type() == ConvertedType::UTF8;
    column.physical_type() == Type::BYTE_ARRAY && marked && column.max_rep_level() == 0
}

/// A column and what it holds.
fn describe(column: &ColumnDescriptor) -> String {
    let kind = match column.max_rep_level() {
        _ if is_text(column) => "text".to_owned(),
        0 => column.physical_type().to_string(),
        _ => format!("lists of {}", column.physical_type()),
    };
    format!("{} ({kind})", column.path().string())
}
