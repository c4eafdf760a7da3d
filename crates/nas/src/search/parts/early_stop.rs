use crate::{
    run::Flow,
    space::{Genotype, OpName},
};

/// Ends a search when the cell that it would derive has too many skip connections (DARTS+).
#[derive(Clone, Copy, Debug)]
pub struct SkipStop {
    /// That many are too many.
    pub skips: usize,
}

impl SkipStop {
    /// By the first kind of cell, which is the normal one where there are several.
    pub fn flow(self, genotype: &Genotype) -> Flow {
        let edges = genotype.cells.first().map_or(&[][..], |cell| &cell.edges);
        let skips = edges.iter().filter(|edge| edge.op == OpName::SKIP_CONNECT).count();
        match skips >= self.skips {
            true => Flow::Finish(format!("the cell has {skips} skip connections")),
            false => Flow::Go,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::NasBench201;

    #[test]
    fn too_many_skip_connections_end_the_search() {
        let cell = |ops: [usize; 6]| {
            let chosen: Vec<_> = ops.into_iter().enumerate().collect();
            Genotype::from_choices(&NasBench201, &[&chosen]).unwrap()
        };
        let stop = SkipStop { skips: 2 };
        assert_eq!(stop.flow(&cell([0, 1, 2, 3, 4, 3])), Flow::Go);
        let reason = "the cell has 3 skip connections".to_owned();
        assert_eq!(stop.flow(&cell([1, 1, 2, 3, 1, 3])), Flow::Finish(reason));
    }
}
