use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    random::below,
    space::{CellKind, Genotype, OpName, SearchSpace, SpaceError},
};

/// A category of each variable of a [`Domain`].
pub type Choice = Vec<usize>;

/// A categorical variable of a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// What it stands for.
    pub name: String,
    /// Number of its categories.
    pub categories: usize,
}

/// How a parent differs from its child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mutation {
    /// A node is drawn, then one of its variables: variables of nodes with few inputs change more often.
    #[default]
    NodeThenEdge,
    /// Each variable is drawn equally often.
    Edge,
}

/// A search space as categorical variables.
///
/// Where every edge stays, a variable is the operation of an edge, in the order of the rows of `alpha`. Where a node keeps some of
/// its edges, its first variable says which, and the others are the operations of those, `none` excepted.
#[derive(Clone, Debug)]
pub struct Domain {
    space: &'static dyn SearchSpace,
    variables: Vec<Variable>,
    nodes: Vec<Node>,
}

/// A node of a cell: the variables that decide what enters it.
#[derive(Clone, Debug)]
struct Node {
    /// Number of the cell kind.
    kind: usize,
    variables: Range<usize>,
    /// The sets of edges that it may keep, as rows of its kind. One: there is no variable for it.
    inputs: Vec<Vec<usize>>,
    /// Operations by category, as columns of `alpha`.
    ops: Vec<usize>,
}

impl Domain {
    /// Of a space.
    pub fn new(space: &'static dyn SearchSpace) -> Self {
        let mut domain = Self { space, variables: Vec::new(), nodes: Vec::new() };
        for (kind, cell) in space.kinds().iter().enumerate() {
            (cell.inputs..cell.nodes).for_each(|node| domain.add(kind, cell, node, space.kinds().len() > 1));
        }
        domain
    }

    fn add(&mut self, kind: usize, cell: &CellKind, node: usize, several: bool) {
        let prefix = if several { format!("{} ", cell.name) } else { String::new() };
        let rows: Vec<usize> = (0..cell.edges.len()).filter(|&row| cell.edges[row].to == node).collect();
        let kept = cell.kept_inputs.map_or(rows.len(), |kept| kept.min(rows.len()));
        let inputs = subsets(&rows, kept);
        let allowed = |op: &OpName| cell.kept_inputs.is_none() || *op != OpName::NONE;
        let ops: Vec<usize> =
            self.space.ops().iter().enumerate().filter(|(_, op)| allowed(op)).map(|(column, _)| column).collect();
        let first = self.variables.len();
        if inputs.len() > 1 {
            self.variables.push(Variable { name: format!("{prefix}{node}: inputs"), categories: inputs.len() });
        }
        for slot in 0..kept {
            let name = match &inputs[..] {
                [all] => format!("{prefix}{node}<-{}", cell.edges[all[slot]].from),
                _ => format!("{prefix}{node}: operation {}", slot + 1),
            };
            self.variables.push(Variable { name, categories: ops.len() });
        }
        self.nodes.push(Node { kind, variables: first..self.variables.len(), inputs, ops });
    }

    /// The space.
    pub fn space(&self) -> &'static dyn SearchSpace {
        self.space
    }

    /// Its variables.
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// Number of choices; the largest number there is where they are more.
    pub fn size(&self) -> u128 {
        self.variables.iter().fold(1, |size, v| size.saturating_mul(v.categories as u128))
    }

    /// The genotype that a choice stands for.
    ///
    /// # Errors
    /// [`SpaceError::Genotype`] where it is not a choice of this domain.
    pub fn genotype(&self, choice: &Choice) -> Result<Genotype, SpaceError> {
        self.check(choice).map_err(SpaceError::Genotype)?;
        let mut chosen = vec![Vec::new(); self.space.kinds().len()];
        for node in &self.nodes {
            let own = &choice[node.variables.clone()];
            let (inputs, ops) = match &node.inputs[..] {
                [all] => (all, own),
                several => (&several[own[0]], &own[1..]),
            };
            chosen[node.kind].extend(inputs.iter().zip(ops).map(|(&row, &op)| (row, node.ops[op])));
        }
        let chosen: Vec<&[(usize, usize)]> = chosen.iter().map(Vec::as_slice).collect();
        Genotype::from_choices(self.space, &chosen)
    }

    /// Each variable uniformly.
    pub fn sample(&self, rng: &mut ChaCha8Rng) -> Choice {
        self.variables.iter().map(|v| below(rng, v.categories)).collect()
    }

    /// The same but for one variable, which takes another of its categories.
    pub fn mutate(&self, parent: &Choice, mutation: Mutation, rng: &mut ChaCha8Rng) -> Choice {
        let range = match mutation {
            Mutation::NodeThenEdge => self.nodes[below(rng, self.nodes.len())].variables.clone(),
            Mutation::Edge => 0..self.variables.len(),
        };
        let variable = range.start + below(rng, range.len());
        let mut child = parent.clone();
        let others = self.variables[variable].categories - 1;
        if others > 0 {
            let drawn = below(rng, others);
            child[variable] = drawn + usize::from(drawn >= parent[variable]);
        }
        child
    }

    /// All choices that differ in one variable.
    pub fn neighbours(&self, choice: &Choice) -> Vec<Choice> {
        let with = |variable: usize, category: usize| {
            let mut changed = choice.clone();
            changed[variable] = category;
            changed
        };
        let of = |variable: usize| {
            let categories = 0..self.variables[variable].categories;
            categories.filter(move |&c| c != choice[variable]).map(move |c| with(variable, c))
        };
        (0..choice.len()).flat_map(of).collect()
    }

    /// Whether this is a choice of the domain.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, choice: &Choice) -> Result<(), String> {
        if choice.len() != self.variables.len() {
            return Err(format!("a choice of {} variables, expected {}", choice.len(), self.variables.len()));
        }
        match self.variables.iter().zip(choice).find(|(v, c)| **c >= v.categories) {
            Some((v, c)) => Err(format!("category {c} of `{}`, expected 0..={}", v.name, v.categories - 1)),
            None => Ok(()),
        }
    }
}

/// All subsets of `size` items, in lexicographic order.
fn subsets(items: &[usize], size: usize) -> Vec<Vec<usize>> {
    match (size, items) {
        (0, _) => vec![vec![]],
        (_, []) => vec![],
        (_, [first, rest @ ..]) => {
            let with = subsets(rest, size - 1).into_iter().map(|rest| [&[*first], &rest[..]].concat());
            with.chain(subsets(rest, size)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        random::{Purpose, generator},
        space::{Darts, NasBench201},
    };

    fn rng() -> ChaCha8Rng {
        generator(3, Purpose::Trial, 0, 0)
    }

    #[test]
    fn nas_bench_201_has_a_variable_per_edge_in_the_benchmarks_order() {
        let domain = Domain::new(&NasBench201);
        let names: Vec<&str> = domain.variables().iter().map(|v| v.name.as_str()).collect();
        assert_eq!(names, ["1<-0", "2<-0", "2<-1", "3<-0", "3<-1", "3<-2"]);
        assert_eq!(domain.size(), 15_625);
        let text = NasBench201.text(&domain.genotype(&vec![0, 1, 2, 3, 4, 0]).unwrap()).unwrap();
        assert_eq!(text, "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|none~2|");
    }

    #[test]
    fn darts_chooses_two_inputs_of_a_node_and_their_operations() {
        let domain = Domain::new(&Darts::Original);
        let categories: Vec<usize> = domain.variables().iter().map(|v| v.categories).collect();
        // Two nodes keep both of 2, then 2 of 3, 4 and 5 inputs; 7 operations without `none`.
        assert_eq!(categories[..11], [7, 7, 3, 7, 7, 6, 7, 7, 10, 7, 7]);
        assert_eq!(categories.len(), 22);
        assert_eq!(domain.variables()[2].name, "normal 3: inputs");
        let mut rng = rng();
        for _ in 0..200 {
            let genotype = domain.genotype(&domain.sample(&mut rng)).unwrap();
            genotype.check(&Darts::Original).unwrap();
            assert!(genotype.cells.iter().all(|c| c.edges.iter().all(|e| e.op != OpName::NONE)));
        }
    }

    #[test]
    fn a_mutation_changes_one_variable_and_prefers_nodes_with_few_inputs() {
        let domain = Domain::new(&NasBench201);
        let (parent, mut rng) = (vec![2; 6], rng());
        for (mutation, expected) in [(Mutation::NodeThenEdge, 1.0 / 3.0), (Mutation::Edge, 1.0 / 6.0)] {
            let mut first = 0;
            for _ in 0..6000 {
                let child = domain.mutate(&parent, mutation, &mut rng);
                assert_eq!(child.iter().zip(&parent).filter(|(c, p)| c != p).count(), 1);
                first += usize::from(child[0] != 2);
            }
            // Five standard deviations of a count of 6,000.
            assert!((first as f64 / 6000.0 - expected).abs() < 0.031, "{mutation:?}: {first}");
        }
    }

    #[test]
    fn neighbours_differ_in_one_variable_and_are_all_there() {
        let domain = Domain::new(&NasBench201);
        let mut neighbours = domain.neighbours(&vec![0, 1, 2, 3, 4, 0]);
        assert_eq!(neighbours.len(), 24);
        neighbours.sort_unstable();
        neighbours.dedup();
        assert_eq!(neighbours.len(), 24);
    }

    #[test]
    fn a_choice_that_does_not_fit_is_named() {
        let domain = Domain::new(&NasBench201);
        assert_eq!(domain.check(&vec![0; 5]).unwrap_err(), "a choice of 5 variables, expected 6");
        let error = domain.genotype(&vec![0, 0, 5, 0, 0, 0]).unwrap_err().to_string();
        assert_eq!(error, "genotype: category 5 of `2<-1`, expected 0..=4");
    }
}
