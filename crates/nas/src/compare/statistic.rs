use serde::Serialize;

/// Mean and sample standard deviation over seeds; the deviation of one value is not known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistic {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation.
    pub std: Option<f64>,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Statistic {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Self {
            mean,
            std: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

impl std::fmt::Display for Statistic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$}", self.mean)?;
        self.std.map_or(Ok(()), |std| write!(f, " ± {std:.digits$}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_show_the_deviation_of_several() {
        assert_eq!(Statistic::of(&[]), None);
        assert_eq!(Statistic::of(&[94.0]).unwrap().to_string(), "94.00");
        let two = Statistic::of(&[93.0, 95.0]).unwrap();
        assert_eq!((two.min, two.max, format!("{two:.1}")), (93.0, 95.0, "94.0 ± 1.4".to_owned()));
    }
}
