use std::fmt;

use serde::{Deserialize, Serialize};

use super::importance::Performance;
use crate::proxy;

/// What operations are judged by: a performance, or several whose importances are added up on a common scale.
/// Written `loss`, `loss+naswot` or `loss+0.18*params`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Criterion(Vec<Term>);

/// A part of a [`Criterion`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// Factor in the sum, positive.
    pub weight: f64,
    /// What is measured.
    pub performance: Performance,
}

impl Criterion {
    /// At least one, no performance twice.
    pub fn terms(&self) -> &[Term] {
        &self.0
    }

    /// The performance, if it is one alone of weight 1.
    pub fn single(&self) -> Option<Performance> {
        if let [Term { weight: 1.0, performance }] = self.0[..] { Some(performance) } else { None }
    }

    /// Whether a term is measured on the mini-batch of a proxy.
    pub fn on_mini_batch(&self) -> bool {
        self.0.iter().any(|term| term.performance.on_mini_batch())
    }
}

impl From<Performance> for Criterion {
    fn from(performance: Performance) -> Self {
        Self(vec![Term { weight: 1.0, performance }])
    }
}

impl TryFrom<String> for Criterion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut terms: Vec<Term> = Vec::new();
        for term in text.split('+') {
            let (weight, name) = term.split_once('*').map_or((None, term), |(weight, name)| (Some(weight), name));
            let Some(performance) = Performance::ALL.into_iter().find(|p| p.to_string() == name) else {
                if proxy::find(name).is_ok_and(|proxy| proxy.composite().is_some()) {
                    return Err(format!(
                        "`{name}` is no importance: it ranks networks among each other, and a supernet has no score of its own"
                    ));
                }
                let names = Performance::ALL.map(|p| format!("`{p}`")).join(", ");
                return Err(format!("unknown performance `{name}`, expected {names}, or several joined by `+`"));
            };
            if terms.iter().any(|t| t.performance == performance) {
                return Err(format!("`{text}` names {name} twice"));
            }
            let factor = weight.map_or(Some(1.0), |w| w.parse().ok().filter(|w: &f64| w.is_finite() && *w > 0.0));
            let Some(weight) = factor else {
                return Err(format!("`{term}`: expected a number more than 0 in front of `*`"));
            };
            terms.push(Term { weight, performance });
        }
        Ok(Self(terms))
    }
}

impl From<Criterion> for String {
    fn from(criterion: Criterion) -> Self {
        criterion.to_string()
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, Term { weight, performance }) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "+" } else { "" })?;
            if *weight != 1.0 {
                write!(f, "{weight}*")?;
            }
            write!(f, "{performance}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Criterion, String> {
        Criterion::try_from(text.to_owned())
    }

    #[test]
    fn one_or_several_are_read_as_they_are_written() {
        for text in
            ["flops", "jacob-cov+swap", "loss", "accuracy+net-perf-proxy", "loss+0.18*params", "2.5*loss+naswot"]
        {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        assert_eq!(read("loss").unwrap().single(), Some(Performance::Loss));
        assert_eq!(read("loss+naswot").unwrap().single(), None);
        assert_eq!(read("2*loss").unwrap().single(), None);
    }

    #[test]
    fn every_proxy_is_one_unless_it_ranks_networks_among_each_other() {
        for proxy in proxy::all() {
            assert_eq!(read(proxy.name()).is_ok(), proxy.composite().is_none(), "{}", proxy.name());
        }
    }

    #[test]
    fn what_is_none_says_what_would_be_one() {
        assert_eq!(read("loss+loss").unwrap_err(), "`loss+loss` names loss twice");
        assert_eq!(read("loss+2*loss").unwrap_err(), "`loss+2*loss` names loss twice");
        assert!(read("sign(loss)").unwrap_err().starts_with("unknown performance `sign(loss)`"));
        for bad in ["-1*loss", "0*loss", "x*loss", "inf*loss"] {
            assert_eq!(read(bad).unwrap_err(), format!("`{bad}`: expected a number more than 0 in front of `*`"));
        }
        let refused =
            "`az-nas` is no importance: it ranks networks among each other, and a supernet has no score of its own";
        assert_eq!(read("loss+az-nas").unwrap_err(), refused);
        let unknown = read("loss+").unwrap_err();
        assert!(unknown.starts_with("unknown performance ``, expected `accuracy`, `loss`"), "{unknown}");
    }
}
