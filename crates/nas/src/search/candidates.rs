use std::fmt;

use engine::NetworkSpec;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    space::{NetworkShape, OpName, SearchSpace, SpaceError},
    supernet::{Mask, OpAt},
};

/// The operations that a search may use: those of its space, or fewer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OpSets {
    /// The same on every edge.
    All(Vec<OpName>),
    /// Edge by edge, in the order of the rows of `alpha: [E, O]`.
    PerEdge(Vec<Vec<OpName>>),
}

/// An untagged enum would hide which name is unknown.
impl<'de> Deserialize<'de> for OpSets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Item {
            Name(String),
            Names(Vec<String>),
        }
        let items = Vec::<Item>::deserialize(deserializer).map_err(|_| {
            de::Error::custom("expected a list of operations, or a list of such lists, one for each edge")
        })?;
        let parse = |name: &String| name.parse::<OpName>().map_err(de::Error::custom);
        let names = items.iter().filter(|item| matches!(item, Item::Name(_))).count();
        if names == items.len() {
            let all =
                items.iter().filter_map(|item| if let Item::Name(name) = item { Some(parse(name)) } else { None });
            return Ok(Self::All(all.collect::<Result<_, _>>()?));
        }
        if names > 0 {
            return Err(de::Error::custom("names and lists are mixed, expected one list, or one for each edge"));
        }
        let lists = items.iter().filter_map(|item| if let Item::Names(names) = item { Some(names) } else { None });
        Ok(Self::PerEdge(lists.map(|names| names.iter().map(parse).collect()).collect::<Result<_, _>>()?))
    }
}

/// What a search chooses from: a space, and the operations on each edge of its supernet.
#[derive(Clone)]
pub struct Candidates {
    space: &'static dyn SearchSpace,
    offered: Mask,
}

impl Candidates {
    /// All that the space has.
    pub fn all(space: &'static dyn SearchSpace) -> Self {
        let edges = space.kinds().iter().map(|k| k.edges.len()).sum();
        Self { space, offered: Mask::filled(edges, space.ops().len(), true) }
    }

    /// Fewer, where there are `sets`.
    ///
    /// # Errors
    /// [`SpaceError::OpSet`]: what makes no search, with the edge.
    pub fn new(space: &'static dyn SearchSpace, sets: Option<&OpSets>) -> Result<Self, SpaceError> {
        let mut candidates = Self::all(space);
        let Some(sets) = sets else { return Ok(candidates) };
        let (names, offered) = (space.edge_names(), &mut candidates.offered);
        if let OpSets::PerEdge(lists) = sets
            && lists.len() != names.len()
        {
            let kinds: Vec<String> =
                space.kinds().iter().map(|k| format!("{} in a {}", k.edges.len(), k.name)).collect();
            let why =
                format!("{} lists, `{}` has {} edges: {}", lists.len(), space.name(), names.len(), kinds.join(", "));
            return Err(SpaceError::OpSet(why));
        }
        for (edge, name) in names.iter().enumerate() {
            let (set, place) = match sets {
                OpSets::All(set) => (set, String::new()),
                OpSets::PerEdge(lists) => {
                    (&lists[edge], format!(" on edge {name} (list {} of {})", edge + 1, names.len()))
                }
            };
            let fault = |why: String| Err(SpaceError::OpSet(format!("{why}{place}")));
            offered.row_mut(edge).fill(false);
            for op in set {
                let Some(column) = space.ops().iter().position(|known| known == op) else {
                    let known: Vec<&str> = space.ops().iter().map(|op| op.as_str()).collect();
                    return fault(format!("`{}` has no operation `{op}`, only {}", space.name(), known.join(", ")));
                };
                if std::mem::replace(&mut offered[(edge, column)], true) {
                    return fault(format!("`{op}` stands twice"));
                }
            }
            if set.iter().all(|&op| op == OpName::NONE) {
                return fault("no operation but `none`".to_owned());
            }
        }
        if !offered.alive().any(|(_, op)| space.ops()[op].has_weights()) {
            return Err(SpaceError::OpSet("no operation with weights: there is nothing to train".to_owned()));
        }
        if candidates.most() < 2 {
            return Err(SpaceError::OpSet("one operation on each edge: there is nothing to search".to_owned()));
        }
        Ok(candidates)
    }

    /// The space.
    pub fn space(&self) -> &'static dyn SearchSpace {
        self.space
    }

    /// The supernet with these operations.
    ///
    /// # Errors
    /// See [`SearchSpace::supernet`].
    pub fn supernet(&self, shape: &NetworkShape) -> Result<NetworkSpec, SpaceError> {
        Ok(NetworkSpec { alive: self.offered.values().to_vec(), ..self.space.supernet(shape)? })
    }

    /// Operations that there are on each edge, `[E, O]`.
    pub fn offered(&self) -> &Mask {
        &self.offered
    }

    /// Their names, edge by edge.
    pub fn names(&self) -> Vec<Vec<String>> {
        let ops = self.space.ops();
        let of =
            |row: &[bool]| ops.iter().zip(row).filter(|(_, there)| **there).map(|(op, _)| op.to_string()).collect();
        self.offered.rows().map(of).collect()
    }

    /// Most operations of an edge, `|O|`.
    pub fn most(&self) -> usize {
        self.offered.rows().map(|row| row.iter().filter(|&&there| there).count()).max().unwrap_or(0)
    }

    /// Column of an operation in `alpha: [E, O]`, if an edge has it.
    pub fn column(&self, op: OpName) -> Option<usize> {
        let column = super::column(self.space, op)?;
        self.offered.alive().any(|(_, op): OpAt| op == column).then_some(column)
    }
}

impl fmt::Debug for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates").field("space", &self.space.name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Darts, NasBench201};

    fn sets(text: &str) -> Result<OpSets, String> {
        #[derive(Deserialize)]
        struct Table {
            ops: OpSets,
        }
        toml::from_str::<Table>(&format!("ops = {text}")).map(|t| t.ops).map_err(|e| e.message().to_owned())
    }

    fn darts(text: &str) -> Result<Candidates, String> {
        Candidates::new(&Darts::Original, Some(&sets(text)?)).map_err(|e| e.to_string())
    }

    #[test]
    fn a_set_holds_on_every_edge() {
        let s2 = darts("['skip_connect', 'sep_conv_3x3']").unwrap();
        assert_eq!(s2.offered().alive().count(), 28 * 2);
        assert!(s2.offered().alive().all(|(_, op)| op == 3 || op == 4));
        assert_eq!((s2.most(), s2.column(OpName::SKIP_CONNECT), s2.column(OpName::NONE)), (2, Some(3), None));
        let all = Candidates::all(&NasBench201);
        assert_eq!((all.most(), all.column(OpName::NONE), all.column(OpName::SEP_CONV_3X3)), (5, Some(0), None));
    }

    #[test]
    fn sets_differ_from_edge_to_edge() {
        let mut lists = vec!["['skip_connect', 'sep_conv_3x3']"; 28];
        lists[27] = "['none', 'max_pool_3x3', 'avg_pool_3x3']";
        let candidates = darts(&format!("[{}]", lists.join(", "))).unwrap();
        assert_eq!(candidates.offered().row(27), [true, true, true, false, false, false, false, false]);
        assert_eq!(candidates.most(), 3);
    }

    #[test]
    fn what_makes_no_search_is_refused_with_the_place() {
        for (text, part) in [
            ("[]", "no operation but `none`"),
            ("['none']", "no operation but `none`"),
            ("['sep_conv_3x3']", "nothing to search"),
            ("['none', 'skip_connect', 'max_pool_3x3']", "no operation with weights"),
            ("['sep_conv_3x3', 'sep_conv_3x3']", "`sep_conv_3x3` stands twice"),
            ("['sep_conv_3x3', 'nor_conv_3x3']", "`darts` has no operation `nor_conv_3x3`, only none, max_pool_3x3"),
            ("['sep_conv_3']", "unknown operation `sep_conv_3`"),
            ("'sep_conv_3x3'", "expected a list of operations"),
            ("[1, 2]", "expected a list of operations"),
            ("['skip_connect', ['sep_conv_3x3']]", "names and lists are mixed"),
            ("[['skip_connect', 'sep_conv_3x3']]", "1 lists, `darts` has 28 edges: 14 in a normal, 14 in a reduce"),
        ] {
            let error = darts(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let mut lists = vec!["['skip_connect', 'sep_conv_3x3']"; 28];
        lists[15] = "[]";
        let error = darts(&format!("[{}]", lists.join(", "))).unwrap_err();
        assert!(error.contains("no operation but `none` on edge reduce 2<-1 (list 16 of 28)"), "{error}");
    }
}
