use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
};

use csv::{ErrorKind, Reader, StringRecord};
use flate2::read::MultiGzDecoder;

use super::{
    Column, ImportError, Table,
    column::{Need, Quantity},
    table::{Columns, is_valid},
};
use crate::{
    sniff::{self, FileKind},
    space::nas_bench_201::{ARCHITECTURES, Arch},
    suggest,
};

const INDEX: &str = "index";
const ARCH: &str = "arch";

/// An imported table.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The table.
    pub table: Table,
    /// Columns of the file that a table has no place for.
    pub ignored: Vec<String>,
}

/// Makes a table from a CSV file, plain or compressed with gzip: a header with `index`, `arch` and the names of
/// [`Column`], then one row per architecture in any order. Numbers may be blank only in the columns of single seeds.
///
/// # Errors
/// [`ImportError`]: the first thing that is wrong, with its line.
pub fn import(path: &Path) -> Result<Import, ImportError> {
    let io = |source| ImportError::Io { path: path.to_owned(), source };
    match sniff::file(path) {
        None | Some(FileKind::Gzip) => {}
        Some(what) => return Err(ImportError::Foreign { path: path.to_owned(), what }),
    }
    let reader = open(path).map_err(io)?;
    read(Reader::from_reader(reader)).map_err(|failure| match failure {
        Failure::Import(error) => error,
        Failure::Csv(error) => match error.into_kind() {
            ErrorKind::Io(source) => io(source),
            kind => ImportError::Csv { path: path.to_owned(), why: reason(&kind) },
        },
    })
}

/// The file as text, unpacked if it begins as gzip does.
fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic)?;
    file.rewind()?;
    let file = BufReader::new(file);
    Ok(if magic == [0x1f, 0x8b] { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) })
}

enum Failure {
    Csv(csv::Error),
    Import(ImportError),
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Self {
        Self::Csv(error)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        Self::Import(error)
    }
}

fn read(mut reader: Reader<Box<dyn Read>>) -> Result<Import, Failure> {
    let header = Header::new(reader.headers()?)?;
    let blank = vec![f64::NAN; ARCHITECTURES];
    let mut columns: Columns = vec![None; Column::ALL.len()];
    for &(column, _) in &header.columns {
        columns[column as usize] = Some(blank.clone());
    }
    // Line of each index's row, 0 where there is none yet.
    let mut lines = vec![0; ARCHITECTURES];
    let mut record = StringRecord::new();
    while reader.read_record(&mut record)? {
        let line = record.position().map_or(0, csv::Position::line);
        let index = header.index(&record, line)?;
        match std::mem::replace(&mut lines[index], line) {
            0 => {}
            first => return Err(ImportError::DuplicateRow { index, first, line }.into()),
        }
        for &(column, field) in &header.columns {
            if let Some(values) = &mut columns[column as usize] {
                values[index] = number(column, field_of(&record, field), line)?;
            }
        }
    }
    if let Some(first) = lines.iter().position(|&line| line == 0) {
        let found = lines.iter().filter(|&&line| line != 0).count();
        return Err(ImportError::MissingRows { found, expected: ARCHITECTURES, first }.into());
    }
    plausible(&columns)?;
    // Every column and every value has been checked where its line is known.
    let table = Table::from_columns(columns).map_err(|why| Failure::Csv(io::Error::other(why).into()))?;
    Ok(Import { table, ignored: header.ignored })
}

/// Refuses what every number of a column may be and all of them together cannot: accuracies as fractions, counts that are not
/// in millions.
fn plausible(columns: &Columns) -> Result<(), ImportError> {
    for &column in Column::ALL {
        let Some(values) = &columns[column as usize] else { continue };
        let known = || values.iter().filter(|v| !v.is_nan());
        let largest = known().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
        let expected = match column.quantity() {
            // Chance is 0.83 % with 120 classes, and some of the architectures learn.
            Quantity::Accuracy if (0.0..=1.0).contains(&largest) => "percent",
            // The largest network of the space has 1.53 M parameters and 220 M multiply-adds, for any of the data sets.
            Quantity::Parameters if largest >= 1000.0 => "millions of parameters",
            Quantity::MultiplyAdds if largest >= 1e6 => "millions of multiply-adds",
            _ => continue,
        };
        return Err(ImportError::Unit { column: column.name(), largest, expected });
    }
    Ok(())
}

/// Where each column is in a row.
struct Header {
    index: usize,
    arch: usize,
    columns: Vec<(Column, usize)>,
    ignored: Vec<String>,
}

impl Header {
    fn new(names: &StringRecord) -> Result<Self, ImportError> {
        // A byte order mark would hide the first column.
        let names: Vec<&str> = names.iter().map(|n| n.trim_start_matches('\u{feff}').trim()).collect();
        if let Some((_, twice)) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
            return Err(ImportError::DuplicateColumn((*twice).to_owned()));
        }
        let find = |name: &str| names.iter().position(|&n| n == name);
        let known = |name: &str| [INDEX, ARCH].contains(&name) || Column::ALL.iter().any(|c| c.name() == name);
        let required = |name: &'static str| {
            find(name).ok_or_else(|| {
                if let [whole] = &names[..]
                    && let Some(separator) = separator_of(whole)
                {
                    return ImportError::Separator { separator, header: (*whole).to_owned() };
                }
                let similar = suggest::nearest(name, names.iter().copied().filter(|n| !known(n)));
                ImportError::MissingColumn { column: name, similar: similar.map(String::from) }
            })
        };
        let (index, arch) = (required(INDEX)?, required(ARCH)?);
        let mut columns = Vec::new();
        for &column in Column::ALL {
            match column.need() {
                Need::Required => columns.push((column, required(column.name())?)),
                Need::Optional | Need::Sparse => columns.extend(find(column.name()).map(|field| (column, field))),
            }
        }
        let ignored = names.iter().filter(|n| !known(n)).map(|&n| n.to_owned()).collect();
        Ok(Self { index, arch, columns, ignored })
    }

    /// The row's index, which must be that of its architecture.
    fn index(&self, record: &StringRecord, line: u64) -> Result<usize, ImportError> {
        let text = field_of(record, self.index);
        let expected = text.parse().ok().and_then(|index| Arch::from_index(index).ok());
        let expected = expected.ok_or_else(|| ImportError::Value {
            line,
            column: INDEX,
            value: text.to_owned(),
            expected: "an index in 0..=15624",
        })?;
        let found = Arch::from_text(field_of(record, self.arch));
        let found = found.map_err(|source| ImportError::ArchText { line, source })?;
        let index = expected.index();
        if found != expected {
            return Err(ImportError::Arch { line, index, found: found.to_string(), expected: expected.to_string() });
        }
        Ok(index)
    }
}

/// What separates the columns of a header that has not fallen apart at its commas.
fn separator_of(header: &str) -> Option<&'static str> {
    [(';', "semicolons"), ('\t', "tabs"), ('|', "bars")]
        .into_iter()
        .find(|(c, _)| header.contains(*c))
        .map(|(_, name)| name)
}

fn field_of(record: &StringRecord, field: usize) -> &str {
    record.get(field).unwrap_or("").trim()
}

/// The number in a field; NaN for a blank one where that is allowed.
fn number(column: Column, text: &str, line: u64) -> Result<f64, ImportError> {
    let number = match text {
        "" if column.need() == Need::Sparse => return Ok(f64::NAN),
        _ => text.parse().ok(),
    };
    number.filter(|v: &f64| !v.is_nan() && is_valid(column, *v)).ok_or_else(|| ImportError::Value {
        line,
        column: column.name(),
        value: text.to_owned(),
        expected: column.quantity().expected(),
    })
}

fn reason(kind: &ErrorKind) -> String {
    let line = |pos: &Option<csv::Position>| pos.as_ref().map_or_else(String::new, |p| format!("line {}: ", p.line()));
    match kind {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            format!("{}{len} fields, the header has {expected_len}", line(pos))
        }
        ErrorKind::Utf8 { pos, err } => format!("{}field {} is not UTF-8", line(pos), err.field() + 1),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{super::table::tests::made_up, *};

    /// The made-up table as lines of CSV, the header first.
    fn lines() -> Vec<String> {
        let table = made_up();
        let columns: Vec<Column> = table.columns().collect();
        let names: Vec<&str> = columns.iter().map(|c| c.name()).collect();
        let row = |arch: Arch| {
            let values = columns.iter().map(|&c| table.value(c, arch).map_or_else(String::new, |v| v.to_string()));
            format!("{},{arch},{}", arch.index(), values.collect::<Vec<_>>().join(","))
        };
        [format!("index,arch,{}", names.join(","))].into_iter().chain(Arch::all().map(row)).collect()
    }

    fn import_bytes(bytes: &[u8]) -> Result<Import, ImportError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        import(file.path())
    }

    fn error(lines: &[String]) -> String {
        import_bytes(lines.join("\n").as_bytes()).unwrap_err().to_string()
    }

    /// The error for the made-up file with a change.
    fn changed(change: impl Fn(&mut Vec<String>)) -> String {
        let mut lines = lines();
        change(&mut lines);
        error(&lines)
    }

    fn replace(line: &mut String, from: &str, to: &str) {
        assert!(line.contains(from), "{from} in {line}");
        *line = line.replacen(from, to, 1);
    }

    fn same(a: &Table, b: &Table) -> bool {
        Column::ALL.iter().all(|&c| {
            let bits = |t: &Table| t.column(c).map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
            bits(a) == bits(b)
        })
    }

    #[test]
    fn plain_gzip_shuffled_and_windows_files_give_the_same_table() {
        let lines = lines();
        let plain = lines.join("\n");
        let import = import_bytes(plain.as_bytes()).unwrap();
        assert!(same(&import.table, &made_up()));
        assert!(import.ignored.is_empty());

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain.as_bytes()).unwrap();
        assert!(same(&import_bytes(&gzip.finish().unwrap()).unwrap().table, &made_up()));

        let mut shuffled = lines.clone();
        shuffled[1..].reverse();
        assert!(same(&import_bytes(shuffled.join("\n").as_bytes()).unwrap().table, &made_up()));

        let windows = format!("\u{feff}{}\r\n", lines.join("\r\n"));
        assert!(same(&import_bytes(windows.as_bytes()).unwrap().table, &made_up()));
    }

    #[test]
    fn columns_without_a_place_are_named() {
        let extra: Vec<String> =
            lines().iter().enumerate().map(|(i, l)| format!("{l},{}", if i == 0 { "colour" } else { "red" })).collect();
        assert_eq!(import_bytes(extra.join("\n").as_bytes()).unwrap().ignored, ["colour"]);
    }

    #[test]
    fn a_missing_or_double_column_is_named() {
        let renamed = changed(|l| replace(&mut l[0], "cifar10_test,", "cifar10_tets,"));
        assert_eq!(renamed, "missing column `cifar10_test` (the header has `cifar10_tets`)");
        assert_eq!(changed(|l| replace(&mut l[0], "cifar100_valid,", "zzz,")), "missing column `cifar100_valid`");
        assert_eq!(changed(|l| replace(&mut l[0], "arch,", "x,")), "missing column `arch`");
        let twice = changed(|l| replace(&mut l[0], "cifar100_valid,", "cifar10_test,"));
        assert_eq!(twice, "column `cifar10_test` occurs twice in the header");
        assert_eq!(import_bytes(b"").unwrap_err().to_string(), "missing column `index`");
    }

    #[test]
    fn a_value_that_is_none_is_named_with_line_and_column() {
        for bad in ["NaN", "", "inf", "ninety", "100.01", "-0.5", "1e3"] {
            // Index 3 is on line 5; its first value is 111 / 200.
            let error = changed(|l| replace(&mut l[4], "|,0.555,", &format!("|,{bad},")));
            assert_eq!(
                error,
                format!("line 5, column `cifar10_valid`: found `{bad}`, expected a percentage in 0..=100")
            );
        }
        let error = changed(|l| {
            let mut fields: Vec<&str> = l[2].split(',').collect();
            fields[2 + Column::Cifar10Seconds as usize] = "-1";
            l[2] = fields.join(",");
        });
        let column = "cifar10valid_train_seconds_200";
        assert_eq!(error, format!("line 3, column `{column}`: found `-1`, expected a number of at least 0"));
    }

    #[test]
    fn rows_that_are_missing_double_or_misplaced_are_named() {
        assert_eq!(changed(|l| drop(l.remove(9))), "15624 of 15625 architectures: the row of index 8 is missing");
        assert_eq!(
            changed(|l| l.truncate(15_001)),
            "15000 of 15625 architectures: the row of index 15000 is missing, and 624 more"
        );
        assert_eq!(changed(|l| l[9] = l[2].clone()), "lines 3 and 10 both hold index 1");
        assert_eq!(changed(|l| l.push(l[1].clone())), "lines 2 and 15627 both hold index 0");
        let swapped = changed(|l| replace(&mut l[1], "0,", "5,"));
        assert!(swapped.starts_with("line 2: the architecture with index 5 is `|"), "{swapped}");
        assert!(swapped.contains(&format!("found `{}`", Arch::from_index(0).unwrap())), "{swapped}");
    }

    #[test]
    fn an_index_or_architecture_that_is_none_is_named() {
        for bad in ["15625", "-1", "x", "", "1.0"] {
            let error = changed(|l| replace(&mut l[1], "0,", &format!("{bad},")));
            assert_eq!(error, format!("line 2, column `index`: found `{bad}`, expected an index in 0..=15624"));
        }
        let error = changed(|l| replace(&mut l[1], "avg_pool_3x3~0", "avg_pool_5x5~0"));
        assert!(
            error.starts_with("line 2, column `arch`: architecture string, character 2: found `avg_pool_5x5`"),
            "{error}"
        );
        assert!(error.ends_with("did you mean `avg_pool_3x3`?"), "{error}");
    }

    #[test]
    fn what_is_no_table_of_this_form_is_named() {
        let message = |bytes: &[u8]| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), bytes).unwrap();
            import(file.path()).unwrap_err().to_string().replace(&file.path().display().to_string(), "FILE")
        };
        assert_eq!(message(b"PK\x03\x04......."), "FILE is a zip archive, expected CSV, plain or compressed with gzip");
        assert_eq!(message(b"\x80\x04\x95..."), "FILE is a Python pickle, expected CSV, plain or compressed with gzip");
        assert_eq!(
            message(b"index;arch\n0;x\n"),
            "the columns are separated by semicolons, expected commas: `index;arch`"
        );
        assert_eq!(
            message(b"index\tarch\n0\tx\n"),
            "the columns are separated by tabs, expected commas: `index\tarch`"
        );
    }

    #[test]
    fn a_column_in_another_unit_is_refused() {
        let table = made_up();
        let scaled = |column: Column, factor: f64| {
            let values = Arch::all().map(|a| table.value(column, a).unwrap() * factor).collect();
            let table = made_up().with_column(column, values);
            let mut columns: Columns = vec![None; Column::ALL.len()];
            for column in table.columns() {
                columns[column as usize] =
                    Some(Arch::all().map(|a| table.value(column, a).unwrap_or(f64::NAN)).collect());
            }
            plausible(&columns).map_err(|e| e.to_string())
        };
        assert_eq!(scaled(Column::Cifar10Test, 1.0), Ok(()));
        let error = scaled(Column::Cifar100Valid, 0.01).unwrap_err();
        assert!(error.starts_with("column `cifar100_valid`: no value is larger than 0."), "{error}");
        assert!(error.ends_with(", expected percent"), "{error}");
        assert!(scaled(Column::Cifar10Params, 1e6).unwrap_err().ends_with(", expected millions of parameters"));
        assert!(scaled(Column::Cifar10Flops, 1e6).unwrap_err().ends_with(", expected millions of multiply-adds"));
    }

    #[test]
    fn ragged_rows_other_encodings_and_cut_archives_are_refused() {
        let ragged = changed(|l| l[6].push_str(",1"));
        assert!(ragged.ends_with("is not well-formed CSV: line 7: 32 fields, the header has 31"), "{ragged}");
        let mut latin1 = lines().join("\n").into_bytes();
        let at = latin1.iter().position(|&b| b == b'|').unwrap();
        latin1[at] = 0xe4;
        let error = import_bytes(&latin1).unwrap_err().to_string();
        assert!(error.ends_with("line 2: field 2 is not UTF-8"), "{error}");

        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(lines().join("\n").as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        for cut in [10, gzip.len() / 2, gzip.len() - 4] {
            assert!(matches!(import_bytes(&gzip[..cut]), Err(ImportError::Io { .. })));
        }
        assert!(matches!(import(Path::new("no/such/file.csv")), Err(ImportError::Io { .. })));
        assert!(matches!(import(&std::env::temp_dir()), Err(ImportError::Foreign { what: FileKind::Folder, .. })));
    }
}
