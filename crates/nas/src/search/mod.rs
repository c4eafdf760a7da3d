//! Configuration, plan, executor, events, checkpoints, run folder.
