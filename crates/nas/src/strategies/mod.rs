//! Search strategies, one file per method.
