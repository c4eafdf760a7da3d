use std::borrow::Cow;
use std::collections::HashMap;

use super::{Array, Global, Id, Pickle, Value};

/// Most values and most pushes to the stack: the data sets have some hundred thousand of each.
const MOST: usize = 1 << 23;
/// Longest name of a type of elements, and most dimensions of an array (numpy has at most 64).
const SHORT: usize = 64;

pub(super) fn run(bytes: &[u8]) -> Result<Pickle<'_>, String> {
    let mut machine = Machine {
        bytes,
        at: 0,
        pushes: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        encoded: 0,
    };
    loop {
        let start = machine.at;
        match machine.step() {
            Ok(false) => {}
            Ok(true) => {
                let root = machine.pop()?;
                return Ok(Pickle { values: machine.values, root });
            }
            Err(why) => return Err(format!("byte {start}: {why}")),
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    pushes: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    /// Bytes of text that have been encoded.
    encoded: usize,
}

impl<'a> Machine<'a> {
    /// Runs one opcode; true at the end of the pickle.
    fn step(&mut self) -> Result<bool, String> {
        let op = self.take(1)?[0];
        match op {
            // Protocol and frames say nothing that is needed.
            0x80 => match self.take(1)?[0] {
                0..=5 => {}
                other => return Err(format!("protocol {other}, expected 0 to 5")),
            },
            0x95 => drop(self.take(8)?),
            b'.' => return Ok(true),
            b'(' => {
                if self.marks.len() >= MOST {
                    return Err(too_many());
                }
                self.marks.push(self.stack.len());
            }
            b'0' => match self.marks.last() {
                // What is on top is a mark.
                Some(&height) if height == self.stack.len() => drop(self.marks.pop()),
                _ => drop(self.pop()?),
            },
            b'1' => drop(self.above_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b'N' => self.make(Value::None)?,
            0x88 => self.make(Value::Int(1))?,
            0x89 => self.make(Value::Int(0))?,
            b'K' | b'M' | b'J' | b'I' | b'L' | 0x8a | 0x8b => {
                let number = self.integer(op)?;
                self.make(Value::Int(number))?;
            }
            b'F' => {
                self.line()?;
                self.make(Value::Float)?;
            }
            b'G' => {
                self.take(8)?;
                self.make(Value::Float)?;
            }
            b'S' => {
                let text = quoted(self.line()?)?;
                self.make(Value::Bytes(text.into()))?;
            }
            b'V' => {
                let text = raw_unicode(self.line()?)?;
                self.make(Value::Text(text.into_bytes().into()))?;
            }
            b'T' | b'U' | b'B' | b'C' | 0x8e | 0x96 => {
                let bytes = self.counted(match op {
                    b'U' | b'C' => 1,
                    b'T' | b'B' => 4,
                    _ => 8,
                })?;
                self.make(Value::Bytes(bytes.into()))?;
            }
            b'X' | 0x8c | 0x8d => {
                let text = self.counted(match op {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                })?;
                self.make(Value::Text(text.into()))?;
            }
            b')' => self.make(Value::Tuple(Vec::new()))?,
            b']' => self.make(Value::List(Vec::new()))?,
            b'}' => self.make(Value::Dict(Vec::new()))?,
            b't' | b'l' | b'd' => {
                let items = self.above_mark()?;
                self.make(match op {
                    b't' => Value::Tuple(items),
                    b'l' => Value::List(items),
                    _ => Value::Dict(pairs(&items)?),
                })?;
            }
            0x85..=0x87 => {
                let count = usize::from(op - 0x84);
                let first = self.floor(count)?;
                let items = self.stack.split_off(first);
                self.make(Value::Tuple(items))?;
            }
            b'a' | b'e' => {
                let items = if op == b'a' { vec![self.pop()?] } else { self.above_mark()? };
                let top = self.top()?;
                match self.values.get_mut(top as usize) {
                    Some(Value::List(list)) => list.extend(items),
                    _ => return Err("appends to something else than a list".to_owned()),
                }
            }
            b's' | b'u' => {
                let items = if op == b's' {
                    let first = self.floor(2)?;
                    self.stack.split_off(first)
                } else {
                    self.above_mark()?
                };
                let items = pairs(&items)?;
                let top = self.top()?;
                match self.values.get_mut(top as usize) {
                    Some(Value::Dict(entries)) => entries.extend(items),
                    _ => return Err("sets entries of something else than a dictionary".to_owned()),
                }
            }
            b'p' | b'q' | b'r' | 0x94 => {
                let place = if op == 0x94 { self.memo.len() as u64 } else { self.place(op)? };
                let top = self.top()?;
                if self.memo.len() >= MOST {
                    return Err(too_many());
                }
                self.memo.insert(place, top);
            }
            b'g' | b'h' | b'j' => {
                let place = self.place(op)?;
                let id = *self.memo.get(&place).ok_or_else(|| format!("nothing was remembered as {place}"))?;
                self.push(id)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let global = global(module, name)?;
                self.make(Value::Global(global))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let global = global(self.text(module)?, self.text(name)?)?;
                self.make(Value::Global(global))?;
            }
            b'R' => {
                let (arguments, what) = (self.pop()?, self.pop()?);
                let made = self.call(what, arguments)?;
                self.make(made)?;
            }
            b'b' => {
                let (state, what) = (self.pop()?, self.top()?);
                self.build(what, state)?;
            }
            other => return Err(format!("refuses the opcode 0x{other:02x}")),
        }
        Ok(false)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..count).ok_or("the file ends too early")?;
        self.at += count;
        Ok(taken)
    }

    /// Up to the end of the line, without it.
    fn line(&mut self) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&b| b == b'\n').ok_or("the file ends too early")?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    /// An unsigned number of `width` bytes, the lowest first.
    fn unsigned(&mut self, width: usize) -> Result<u64, String> {
        let bytes = self.take(width)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// Bytes with their count, of `width` bytes, before them.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], String> {
        let count = self.unsigned(width)?;
        self.take(usize::try_from(count).map_err(|_| "the file ends too early")?)
    }

    fn integer(&mut self, op: u8) -> Result<i64, String> {
        Ok(match op {
            b'K' => self.unsigned(1)? as i64,
            b'M' => self.unsigned(2)? as i64,
            b'J' => i64::from(self.unsigned(4)? as u32 as i32),
            b'I' | b'L' => {
                let line = self.line()?;
                let text = std::str::from_utf8(line).ok().map(|text| text.strip_suffix('L').unwrap_or(text));
                let number = text.and_then(|text| text.trim().parse().ok());
                number.ok_or_else(|| format!("'{}' is no integer of 64 bits", line.escape_ascii()))?
            }
            _ => {
                let bytes = self.counted(if op == 0x8a { 1 } else { 4 })?;
                if bytes.len() > 8 {
                    return Err("an integer of more than 64 bits".to_owned());
                }
                let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut whole = [if negative { 0xff } else { 0 }; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                i64::from_le_bytes(whole)
            }
        })
    }

    /// Where something is remembered.
    fn place(&mut self, op: u8) -> Result<u64, String> {
        match op {
            b'q' | b'h' => self.unsigned(1),
            b'r' | b'j' => self.unsigned(4),
            _ => u64::try_from(self.integer(b'I')?).map_err(|_| "a negative place".to_owned()),
        }
    }

    fn push(&mut self, id: Id) -> Result<(), String> {
        self.pushes += 1;
        if self.pushes > MOST {
            return Err(too_many());
        }
        self.stack.push(id);
        Ok(())
    }

    fn make(&mut self, value: Value<'a>) -> Result<(), String> {
        let id = self.values.len() as Id;
        // `push` counts them all.
        self.push(id)?;
        self.values.push(value);
        Ok(())
    }

    /// The height below the top `count` values.
    fn floor(&self, count: usize) -> Result<usize, String> {
        let height = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
        match self.marks.last() {
            Some(&mark) if height < mark => Err("a mark is in the way".to_owned()),
            _ => Ok(height),
        }
    }

    fn top(&self) -> Result<Id, String> {
        Ok(self.stack[self.floor(1)?])
    }

    fn pop(&mut self) -> Result<Id, String> {
        let at = self.floor(1)?;
        let id = self.stack[at];
        self.stack.truncate(at);
        Ok(id)
    }

    fn above_mark(&mut self) -> Result<Vec<Id>, String> {
        let height = self.marks.pop().ok_or("there is no mark")?;
        Ok(self.stack.split_off(height))
    }

    fn value(&self, id: Id) -> Result<&Value<'a>, String> {
        self.values.get(id as usize).ok_or_else(|| "a value is missing".to_owned())
    }

    fn text(&self, id: Id) -> Result<&[u8], String> {
        match self.value(id)? {
            Value::Text(text) | Value::Bytes(text) => Ok(text),
            _ => Err("a string is something else".to_owned()),
        }
    }

    fn tuple(&self, id: Id) -> Result<&[Id], String> {
        match self.value(id)? {
            Value::Tuple(items) => Ok(items),
            _ => Err("a tuple is something else".to_owned()),
        }
    }

    fn call(&mut self, what: Id, arguments: Id) -> Result<Value<'a>, String> {
        let &Value::Global(global) = self.value(what)? else { return Err("refuses to call a value".to_owned()) };
        match (global, self.tuple(arguments)?) {
            (Global::Reconstruct, &[of, _, _]) if matches!(self.value(of)?, Value::Global(Global::NdArray)) => {
                Ok(Value::Unbuilt)
            }
            (Global::Dtype, &[name, ..]) => match self.text(name)? {
                name if name.len() <= SHORT => Ok(Value::Dtype(name.to_vec())),
                _ => Err(format!("a type of elements with a name of more than {SHORT} bytes")),
            },
            (Global::Encode, &[text, encoding]) => self.encode(text, encoding),
            (Global::FromBuffer, &[content, dtype, shape, order]) => {
                let fortran = self.text(order)? == b"F";
                Ok(Value::Array(self.array(dtype, shape, fortran, content)?))
            }
            (global, arguments) => Err(format!("{global:?} with {} arguments", arguments.len())),
        }
    }

    /// Text of the code points 0 to 255 to bytes.
    fn encode(&mut self, text: Id, encoding: Id) -> Result<Value<'a>, String> {
        let encoding = self.text(encoding)?;
        if encoding != b"latin1" && encoding != b"latin-1" {
            return Err(format!("refuses the encoding '{}'", encoding.escape_ascii()));
        }
        // The same text again and again would fill the memory; honest files encode each text once, and UTF-8 makes two bytes
        // of one at most.
        self.encoded = self.encoded.saturating_add(self.text(text)?.len());
        if self.encoded / 2 > self.bytes.len() {
            return Err("encodes more text than there is".to_owned());
        }
        let text = std::str::from_utf8(self.text(text)?).map_err(|_| "text is not UTF-8")?;
        let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().map_err(|_| "text is not Latin-1")?;
        Ok(Value::Bytes(Cow::Owned(bytes)))
    }

    fn array(&self, dtype: Id, shape: Id, fortran: bool, content: Id) -> Result<Array, String> {
        let size = |&id: &Id| match self.value(id)? {
            Value::Int(size) => usize::try_from(*size).map_err(|_| "an array of negative size".to_owned()),
            _ => Err("an array's size is no integer".to_owned()),
        };
        let shape = self.tuple(shape)?;
        if shape.len() > SHORT {
            return Err(format!("an array of {} dimensions", shape.len()));
        }
        let shape = shape.iter().map(size).collect::<Result<_, _>>()?;
        self.text(content)?;
        Ok(Array { dtype, shape, fortran, content })
    }

    fn build(&mut self, what: Id, state: Id) -> Result<(), String> {
        let state = self.tuple(state)?;
        let built = match (self.value(what)?, state) {
            (Value::Unbuilt, &[_, shape, dtype, fortran, content]) => {
                let fortran = matches!(self.value(fortran)?, Value::Int(flag) if *flag != 0);
                Value::Array(self.array(dtype, shape, fortran, content)?)
            }
            // Byte order and alignment: of no matter for single bytes, and nothing else is looked into.
            (dtype @ Value::Dtype(_), _) => dtype.clone(),
            _ => return Err("gives a state to a value that has none".to_owned()),
        };
        if let Some(value) = self.values.get_mut(what as usize) {
            *value = built;
        }
        Ok(())
    }
}

fn too_many() -> String {
    format!("has more than {MOST} values")
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = items.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    } else {
        Err("a key without a value".to_owned())
    }
}

fn global(module: &[u8], name: &[u8]) -> Result<Global, String> {
    Ok(match (module, name) {
        (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => Global::Reconstruct,
        (b"numpy.core.numeric" | b"numpy._core.numeric", b"_frombuffer") => Global::FromBuffer,
        (b"numpy", b"ndarray") => Global::NdArray,
        (b"numpy", b"dtype") => Global::Dtype,
        (b"_codecs", b"encode") => Global::Encode,
        _ => return Err(format!("refuses to run `{}.{}`", module.escape_ascii(), name.escape_ascii())),
    })
}

/// A string as Python's `repr` writes it.
fn quoted(line: &[u8]) -> Result<Vec<u8>, String> {
    let inner = match line {
        [open @ (b'\'' | b'"'), inner @ .., close] if open == close => inner,
        _ => return Err("a string without quotes".to_owned()),
    };
    let mut text = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        text.push(match bytes.next() {
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(escaped @ (b'\\' | b'\'' | b'"')) => escaped,
            Some(b'x') => digits(&mut bytes, 2)? as u8,
            _ => return Err("a string with an escape that is none".to_owned()),
        });
    }
    Ok(text)
}

/// A line of `raw-unicode-escape`.
fn raw_unicode(line: &[u8]) -> Result<String, String> {
    let mut text = String::with_capacity(line.len());
    let mut bytes = line.iter();
    while let Some(&byte) = bytes.next() {
        let count = match (byte, bytes.as_slice().first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                continue;
            }
        };
        bytes.next();
        let code = digits(&mut bytes.by_ref().copied(), count)?;
        text.push(char::from_u32(code).ok_or("an escape that is no character")?);
    }
    Ok(text)
}

/// A hexadecimal number of `count` digits.
fn digits(bytes: &mut impl Iterator<Item = u8>, count: usize) -> Result<u32, String> {
    (0..count).try_fold(0u32, |number, _| {
        let digit = bytes.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or("an escape that is none")?;
        Ok(number << 4 | digit)
    })
}
