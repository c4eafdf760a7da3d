/// Version of the format of the table's file that is written, and the newest that is read.
pub const VERSION: u32 = 1;
