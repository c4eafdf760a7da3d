/// Size of one image or of what a layer makes of it, stored `[H, W, C]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ImageShape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, 3 for an RGB image.
    pub channels: usize,
}

impl ImageShape {
    /// Values of one image.
    pub fn len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Pixels of one image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// True where a side is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
