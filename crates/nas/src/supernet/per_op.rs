use std::ops::{Index, IndexMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// One value per edge and operation, `[E, O]` row-major. Written as a list of `E` lists of `O` values.
#[derive(Clone, Debug, PartialEq)]
pub struct PerOp<T> {
    ops: usize,
    values: Vec<T>,
}

/// Operations that are still alive on each edge, `[E, O]`.
pub type Mask = PerOp<bool>;

/// An operation on an edge: row and column of an `[E, O]` table.
pub type OpAt = (usize, usize);

impl<T: Clone> PerOp<T> {
    /// The same value everywhere.
    pub fn filled(edges: usize, ops: usize, value: T) -> Self {
        Self { ops, values: vec![value; edges * ops] }
    }
}

impl<T> PerOp<T> {
    /// From `E * O` values, row-major.
    ///
    /// # Panics
    /// Where `values` is not a whole number of rows.
    pub fn from_values(ops: usize, values: Vec<T>) -> Self {
        assert!(ops > 0 && values.len().is_multiple_of(ops), "{} values in rows of {ops}", values.len());
        Self { ops, values }
    }

    /// Number of edges `E`.
    pub fn edges(&self) -> usize {
        self.values.len() / self.ops
    }

    /// Number of operations `O` of an edge.
    pub fn ops(&self) -> usize {
        self.ops
    }

    /// All values, row-major.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values, row-major.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The `O` values of one edge.
    pub fn row(&self, edge: usize) -> &[T] {
        &self.values[edge * self.ops..(edge + 1) * self.ops]
    }

    /// The `O` values of one edge.
    pub fn row_mut(&mut self, edge: usize) -> &mut [T] {
        &mut self.values[edge * self.ops..(edge + 1) * self.ops]
    }

    /// Edge by edge.
    pub fn rows(&self) -> impl Iterator<Item = &[T]> {
        self.values.chunks_exact(self.ops)
    }

    /// Edge by edge.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        self.values.chunks_exact_mut(self.ops)
    }

    /// Every place, row by row.
    pub fn places(&self) -> impl Iterator<Item = OpAt> + use<T> {
        let ops = self.ops;
        (0..self.values.len()).map(move |i| (i / ops, i % ops))
    }

    /// A table of the same shape made value by value.
    pub fn map<U>(&self, f: impl FnMut(&T) -> U) -> PerOp<U> {
        PerOp { ops: self.ops, values: self.values.iter().map(f).collect() }
    }
}

impl Mask {
    /// The alive operations, row by row.
    pub fn alive(&self) -> impl Iterator<Item = OpAt> {
        self.places().filter(|&at| self[at])
    }
}

impl<T> Index<OpAt> for PerOp<T> {
    type Output = T;

    fn index(&self, (edge, op): OpAt) -> &T {
        &self.values[edge * self.ops + op]
    }
}

impl<T> IndexMut<OpAt> for PerOp<T> {
    fn index_mut(&mut self, (edge, op): OpAt) -> &mut T {
        &mut self.values[edge * self.ops + op]
    }
}

impl<T: Serialize> Serialize for PerOp<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.rows())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PerOp<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = Vec::<Vec<T>>::deserialize(deserializer)?;
        let ops = rows.first().map_or(0, Vec::len);
        if ops == 0 || rows.iter().any(|r| r.len() != ops) {
            return Err(D::Error::custom("expected rows of one length, at least 1"));
        }
        Ok(Self { ops, values: rows.into_iter().flatten().collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_indexed_and_written_row_by_row() {
        let mut mask = Mask::filled(2, 3, true);
        mask[(1, 0)] = false;
        assert_eq!(mask.alive().collect::<Vec<_>>(), [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]);
        let json = serde_json::to_string(&mask).unwrap();
        assert_eq!(json, "[[true,true,true],[false,true,true]]");
        assert_eq!(serde_json::from_str::<Mask>(&json).unwrap(), mask);
    }

    #[test]
    fn ragged_rows_are_refused() {
        assert!(serde_json::from_str::<PerOp<f64>>("[[1.0],[1.0,2.0]]").is_err());
        assert!(serde_json::from_str::<PerOp<f64>>("[]").is_err());
    }
}
