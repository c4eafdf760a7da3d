//! Python pickles of plain data and numpy arrays, as the data sets' authors publish them. Nothing is executed: a small stack
//! machine knows the opcodes of protocols 0 to 5 that such files consist of and five constructors, and refuses everything
//! else by name. (The formats: CPython's `pickletools.py`; numpy's `__reduce__` of arrays.)

mod machine;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

/// Number of a value in [`Pickle::values`].
type Id = u32;

/// A pickle that has been read.
#[derive(Debug)]
pub(super) struct Pickle<'a> {
    values: Vec<Value<'a>>,
    root: Id,
}

/// A value. Those inside it are named by their numbers, so nothing here is recursive.
#[derive(Clone, Debug)]
enum Value<'a> {
    None,
    Int(i64),
    Float,
    /// Python 2's strings, Python 3's bytes.
    Bytes(Cow<'a, [u8]>),
    /// In UTF-8, as far as Python keeps to it.
    Text(Cow<'a, [u8]>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// Type of elements, such as `u1`.
    Dtype(Vec<u8>),
    /// An array that has not been given its content yet.
    Unbuilt,
    Array(Array),
}

/// What a pickle may name. Calling one makes a value and does nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Global {
    /// `numpy.core.multiarray._reconstruct`: an array without content.
    Reconstruct,
    /// `numpy.core.numeric._frombuffer`: an array (protocol 5).
    FromBuffer,
    /// `numpy.ndarray`
    NdArray,
    /// `numpy.dtype`
    Dtype,
    /// `_codecs.encode`: text to bytes, as Python 3 writes bytes in protocols 0 to 2.
    Encode,
}

/// A numpy array; its elements are a value of bytes.
#[derive(Clone, Debug)]
struct Array {
    dtype: Id,
    shape: Vec<usize>,
    /// Columns first.
    fortran: bool,
    content: Id,
}

impl<'a> Pickle<'a> {
    /// Reads a pickle.
    ///
    /// # Errors
    /// What is wrong and at which byte: no pickle, an opcode or a name that is refused, too much of something.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, String> {
        machine::run(bytes)
    }

    fn value(&self, id: Id) -> Result<&Value<'a>, String> {
        self.values.get(id as usize).ok_or_else(|| "a value is missing".to_owned())
    }

    fn bytes(&self, id: Id) -> Result<&[u8], String> {
        match self.value(id)? {
            Value::Bytes(bytes) | Value::Text(bytes) => Ok(bytes),
            _ => Err("a string is something else".to_owned()),
        }
    }

    /// An entry of the dictionary that the pickle is.
    pub(super) fn entry(&self, key: &str) -> Result<Id, String> {
        let Value::Dict(entries) = self.value(self.root)? else { return Err("it is not a dictionary".to_owned()) };
        // Of a key that comes twice, Python keeps the last value.
        let found = entries.iter().rev().find(|(k, _)| self.bytes(*k).is_ok_and(|k| k == key.as_bytes()));
        found.map(|(_, value)| *value).ok_or_else(|| format!("it has no entry '{key}'"))
    }

    /// The integers of a list or tuple.
    pub(super) fn integers(&self, id: Id) -> Result<Vec<i64>, String> {
        let (Value::List(items) | Value::Tuple(items)) = self.value(id)? else { return Err("no list".to_owned()) };
        let integer = |&id: &Id| match self.value(id)? {
            Value::Int(number) => Ok(*number),
            _ => Err("a list with something else than integers".to_owned()),
        };
        items.iter().map(integer).collect()
    }

    /// A matrix of bytes `[rows, columns]`, row by row, and the number of rows.
    pub(super) fn byte_matrix(&self, id: Id, columns: usize) -> Result<(usize, Cow<'_, [u8]>), String> {
        let Value::Array(Array { dtype, shape, fortran, content }) = self.value(id)? else {
            return Err("no array".to_owned());
        };
        let Value::Dtype(of) = self.value(*dtype)? else { return Err("an array without a type".to_owned()) };
        if of != b"u1" {
            return Err(format!("an array of {}, expected u1", String::from_utf8_lossy(of)));
        }
        let [rows, found] = shape[..] else {
            return Err(format!("an array of {} dimensions, expected 2", shape.len()));
        };
        let content = self.bytes(*content)?;
        if found != columns || rows.checked_mul(columns) != Some(content.len()) {
            let there = content.len();
            return Err(format!("an array of {rows} x {found} with {there} bytes, expected rows of {columns}"));
        }
        if !*fortran {
            return Ok((rows, content.into()));
        }
        let mut turned = vec![0; content.len()];
        for (column, values) in content.chunks_exact(rows.max(1)).enumerate() {
            for (row, &value) in values.iter().enumerate() {
                turned[row * columns + column] = value;
            }
        }
        Ok((rows, turned.into()))
    }
}
