//! The program as a user runs it.

mod bench;
mod common;
mod data;
mod frame;
mod help;
mod query;
mod score;
mod search;
