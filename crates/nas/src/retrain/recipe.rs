/// A named way of training, with its source.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Name on the command line.
    pub name: &'static str,
    /// One sentence for lists.
    pub about: &'static str,
    /// Its settings.
    pub toml: &'static str,
}

/// All recipes; the first one is the default.
pub const RECIPES: [Recipe; 4] = [
    Recipe {
        name: "quick",
        about: "ours: 15 epochs of a network of the supernet's size, for a first look",
        toml: include_str!("recipes/quick.toml"),
    },
    Recipe {
        name: "nas-bench-201",
        about: "200 epochs as NAS-Bench-201 was made",
        toml: include_str!("recipes/nas-bench-201.toml"),
    },
    Recipe {
        name: "nas-bench-201-12",
        about: "12 epochs as NAS-Bench-201 was made: its 12-epoch columns",
        toml: include_str!("recipes/nas-bench-201-12.toml"),
    },
    Recipe {
        name: "darts",
        about: "600 epochs as DARTS evaluates its cells: cutout, drop-path, auxiliary head",
        toml: include_str!("recipes/darts.toml"),
    },
];
