//! The program as a user runs it.

mod bench;
mod blackbox;
mod common;
mod compare;
mod data;
mod describe;
mod disk;
mod docs;
mod folder;
mod frame;
mod guard;
mod help;
mod idle;
mod importance;
mod kills;
mod links;
mod meaningless;
mod mistakes;
mod models;
mod query;
mod retrain;
mod score;
mod search;
