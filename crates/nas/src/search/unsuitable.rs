/// A configuration that makes no search.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unsuitable {
    /// What is wrong, with the values.
    pub why: String,
    /// What would be right.
    pub hint: String,
}

impl Unsuitable {
    /// With advice.
    pub fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: hint.into() }
    }
}
