//! Python's `random.seed(int)` and `random.shuffle`, for splits that were published as such.
//! Mersenne Twister MT19937 by Matsumoto and Nishimura (1998), seeded through `init_by_array` as CPython does.

const N: usize = 624;
const M: usize = 397;

pub(super) struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `random.seed(seed)` for an integer below 2^32.
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [0u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            state[i] = mix(state[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        // init_by_array with the one-word key [seed].
        let mut i = 1;
        for _ in 0..N {
            state[i] = (state[i] ^ mix(state[i - 1], 1_664_525)).wrapping_add(seed);
            i = advance(&mut state, i);
        }
        for _ in 0..N - 1 {
            state[i] = (state[i] ^ mix(state[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i = advance(&mut state, i);
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `_randbelow(n)` for `1 <= n < 2^31`: the top bits, drawn again while too large.
    fn below(&mut self, n: u32) -> u32 {
        let shift = n.leading_zeros();
        loop {
            let draw = self.next_u32() >> shift;
            if draw < n {
                return draw;
            }
        }
    }

    /// `random.shuffle(items)`.
    pub(super) fn shuffle(&mut self, items: &mut [u32]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

fn mix(previous: u32, factor: u32) -> u32 {
    (previous ^ (previous >> 30)).wrapping_mul(factor)
}

/// The next of `1..N`, carrying the last word over to the front at the end.
fn advance(state: &mut [u32; N], i: usize) -> usize {
    if i + 1 < N {
        return i + 1;
    }
    state[0] = state[N - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_python() {
        // CPython 3.11: random.seed(1021); [random.getrandbits(32) for _ in range(4)]
        let mut rng = PythonRandom::new(1021);
        let draws: Vec<u32> = (0..4).map(|_| rng.next_u32()).collect();
        assert_eq!(draws, [2_281_139_279, 2_181_293_582, 765_710_408, 2_426_439_274]);
        // random.seed(1021); l = list(range(10)); random.shuffle(l)
        let mut items: Vec<u32> = (0..10).collect();
        PythonRandom::new(1021).shuffle(&mut items);
        assert_eq!(items, [0, 5, 6, 3, 7, 1, 4, 2, 9, 8]);
    }
}
