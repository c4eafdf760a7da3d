//! Tabular benchmarks: the NAS-Bench-201 table.
