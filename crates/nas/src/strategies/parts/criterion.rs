use std::fmt;

use serde::{Deserialize, Serialize};

use super::Performance;

/// What operations are judged by: a performance, or several whose importances are added up on a common scale.
/// Written `loss` or `loss+naswot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Criterion(Vec<Performance>);

impl Criterion {
    /// At least one, none of them twice.
    pub fn performances(&self) -> &[Performance] {
        &self.0
    }

    /// The performance, if it is one alone.
    pub fn single(&self) -> Option<Performance> {
        if let [one] = self.0[..] { Some(one) } else { None }
    }
}

impl From<Performance> for Criterion {
    fn from(one: Performance) -> Self {
        Self(vec![one])
    }
}

impl TryFrom<String> for Criterion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut all = Vec::new();
        for name in text.split('+') {
            let known = Performance::ALL.into_iter().find(|p| p.to_string() == name);
            match known {
                Some(one) if !all.contains(&one) => all.push(one),
                Some(_) => return Err(format!("`{text}` names {name} twice")),
                None => {
                    let names = Performance::ALL.map(|p| format!("`{p}`")).join(", ");
                    return Err(format!("unknown performance `{name}`, expected {names}, or several joined by `+`"));
                }
            }
        }
        Ok(Self(all))
    }
}

impl From<Criterion> for String {
    fn from(criterion: Criterion) -> Self {
        criterion.to_string()
    }
}

impl fmt::Display for Criterion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"))
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
        for text in ["loss", "accuracy+net-perf-proxy", "loss+naswot"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        assert_eq!(read("loss").unwrap().single(), Some(Performance::Loss));
        assert_eq!(read("loss+naswot").unwrap().single(), None);
    }

    #[test]
    fn what_is_none_says_what_would_be_one() {
        assert_eq!(read("loss+loss").unwrap_err(), "`loss+loss` names loss twice");
        let unknown = read("loss+").unwrap_err();
        assert!(unknown.starts_with("unknown performance ``, expected `accuracy`, `loss`"), "{unknown}");
    }
}
