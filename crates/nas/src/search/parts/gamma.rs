//! The gamma distribution of shape `a` and scale 1: what a Dirichlet sample is made of.

/// Its logarithm at 2 pi, halved.
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

/// Logarithm of the gamma function, for `x > 0`: Stirling's series from 10 on.
pub(super) fn ln_gamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series = (1.0 / 12.0 - r * (1.0 / 360.0 - r * (1.0 / 1260.0 - r / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + HALF_LN_TAU + series
}

/// Derivative of [`ln_gamma`].
pub(super) fn digamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift -= 1.0 / x;
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series = r * (1.0 / 12.0 - r * (1.0 / 120.0 - r * (1.0 / 252.0 - r * (1.0 / 240.0 - r / 132.0))));
    shift + x.ln() - 0.5 / x - series
}

/// Derivative of [`digamma`].
pub(super) fn trigamma(mut x: f64) -> f64 {
    let mut shift = 0.0;
    while x < 10.0 {
        shift += 1.0 / (x * x);
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series = r / x * (1.0 / 6.0 - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r * (1.0 / 30.0 - r * (5.0 / 66.0)))));
    shift + 1.0 / x + 0.5 * r + series
}

/// A value above which there is nothing of the distribution in f64.
fn largest(a: f64) -> f64 {
    a + 40.0 * a.sqrt() + 60.0
}

/// Probability of a value below `exp(t)`: the series of the lower incomplete gamma function, all terms positive.
pub(super) fn below(a: f64, t: f64) -> f64 {
    let x = t.exp();
    if x > largest(a) {
        return 1.0;
    }
    let (mut term, mut sum, mut n) = (1.0, 1.0, 0.0);
    while term > sum * 1e-17 {
        n += 1.0;
        term *= x / (a + n);
        sum += term;
    }
    (sum.ln() + a * t - x - ln_gamma(a + 1.0)).exp().min(1.0)
}

/// Logarithm of the value that lies above a share `u` in (0, 1) of the distribution, by bisection.
pub(super) fn ln_quantile(a: f64, u: f64) -> f64 {
    // P(a, x) <= x^a / Gamma(a + 1).
    let (mut low, mut high) = ((u.ln() + ln_gamma(a + 1.0)) / a, largest(a).ln());
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if below(a, middle) < u {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// How the logarithm `t` of a value moves with the shape where its share of the distribution stays (implicit reparameterisation,
/// Figurnov et al. 2018): `-dP/da / (x pdf)`.
pub(super) fn ln_quantile_slope(a: f64, t: f64) -> f64 {
    let x = t.exp();
    // Of x^n / (a (a + 1) ... (a + n)) times ln x - digamma(a + n + 1).
    let mut psi = digamma(a) + 1.0 / a;
    let (mut term, mut n) = (1.0 / a, 0.0);
    let (mut size, mut sum) = (term, term * (t - psi));
    while term > size * 1e-17 && size < 1e9 {
        n += 1.0;
        term *= x / (a + n);
        psi += 1.0 / (a + n);
        size += term;
        sum += term * (t - psi);
    }
    if size < 1e9 {
        return -sum;
    }
    // Far in the upper tail these cancel; there the asymptotic series of the upper function converges fast.
    let (mut term, mut slope) = (1.0, 0.0);
    let (mut ratio, mut ratio_slope) = (1.0, 0.0);
    for n in 1..=12 {
        let factor = (a - f64::from(n)) / x;
        slope = slope * factor + term / x;
        term *= factor;
        ratio += term;
        ratio_slope += slope;
    }
    ((t - digamma(a)) * ratio + ratio_slope) / x
}

#[cfg(test)]
mod tests {
    use super::*;

    // tests/pytorch/make_relaxations.py, "gamma", "log-gamma", "digamma".
    const SHAPES: [f64; 7] = [0.05, 0.3, 1.0, 1.0, 2.5, 9.0, 1.3];
    const VALUES: [f64; 7] = [1e-6, 0.2, 0.7, 8.0, 1.9, 14.0, 31.0];

    fn agree(ours: impl Fn(f64, f64) -> f64, torch: [f64; 7], relative: f64) {
        for ((a, x), expected) in SHAPES.into_iter().zip(VALUES).zip(torch) {
            let ours = ours(a, x);
            assert!((ours - expected).abs() <= relative * expected.abs() + 1e-11, "{a} {x}: {ours}, {expected}");
        }
    }

    #[test]
    fn functions_agree_with_pytorch() {
        let log_gamma = [
            2.9688792010517306,
            1.0957979948180756,
            0.0,
            0.0,
            0.2846828704729192,
            10.60460290274525,
            -0.10817480950786047,
        ];
        agree(|a, _| ln_gamma(a), log_gamma, 1e-11);
        let psi = [
            -20.49784499129987,
            -3.502524222200133,
            -0.5772156649015328,
            -0.5772156649015328,
            0.7031566406452431,
            2.1406414779556098,
            -0.16919088886680006,
        ];
        agree(|a, _| digamma(a), psi, 1e-11);
        let distribution = [
            0.5148279545251783,
            0.6575067242697217,
            0.5034146962085905,
            0.9996645373720975,
            0.42144470856372607,
            0.937944804099651,
            0.9999999999998915,
        ];
        agree(|a, x| below(a, x.ln()), distribution, 1e-11);
        // PyTorch's own is an approximation, to 0.2 % in the upper tail.
        let derivative = [
            0.00026635358314383513,
            1.2120372671214263,
            0.9732210448283286,
            2.7687034303259974,
            0.9281952864002534,
            1.2602831804198682,
            3.6609074344763775,
        ];
        agree(|a, x| x * ln_quantile_slope(a, x.ln()), derivative, 3e-3);
    }

    #[test]
    fn quantiles_invert_the_distribution_and_their_slope_is_its_derivative() {
        for a in [0.01, 0.2, 0.9, 1.0, 1.7, 6.0, 12.0] {
            for u in [1e-9, 0.03, 0.4, 0.9, 0.999] {
                let t = ln_quantile(a, u);
                assert!((below(a, t) - u).abs() < 1e-10 * u.max(1e-3), "{a} {u}: {t}");
                let step = 1e-5 * a;
                let numeric = (ln_quantile(a + step, u) - ln_quantile(a - step, u)) / (2.0 * step);
                let slope = ln_quantile_slope(a, t);
                assert!((numeric - slope).abs() < 1e-4 * slope.abs().max(1.0), "{a} {u}: {numeric} {slope}");
            }
        }
    }

    #[test]
    fn trigamma_is_the_known_sums_of_inverse_squares() {
        let sum = std::f64::consts::PI.powi(2) / 6.0;
        // psi'(1/2) = pi^2 / 2, psi'(1) = pi^2 / 6, psi'(3) = psi'(1) - 1 - 1/4.
        for (x, expected) in [(0.5, 3.0 * sum), (1.0, sum), (3.0, sum - 1.25)] {
            assert!((trigamma(x) - expected).abs() < 1e-13, "{x}: {}", trigamma(x));
        }
    }
}
