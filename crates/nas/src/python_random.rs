//! Python's `random` as far as `random.seed(n); random.shuffle(x)` needs it.
//! Generator: MT19937 (Matsumoto, Nishimura 1998); seeding, `getrandbits`, `_randbelow` and `shuffle` as in CPython 3.

const N: usize = 624;
const M: usize = 397;

/// Mersenne Twister seeded and read as Python does.
pub(crate) struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    /// `random.seed(seed)`: `init_by_array` with the one word.
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            state[i] = previous(&state, i).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        for _ in 0..N {
            state[i] = (state[i] ^ previous(&state, i).wrapping_mul(1_664_525)).wrapping_add(seed);
            i = advance(&mut state, i);
        }
        for _ in 1..N {
            state[i] = (state[i] ^ previous(&state, i).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i = advance(&mut state, i);
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    /// `random.shuffle(x)`.
    pub(crate) fn shuffle<T>(&mut self, x: &mut [T]) {
        for i in (1..x.len()).rev() {
            let j = self.below(i as u32 + 1) as usize;
            x.swap(i, j);
        }
    }

    /// `random._randbelow(n)`, `n > 0`: as many bits as `n` has, until they are below `n`.
    fn below(&mut self, n: u32) -> u32 {
        let bits = u32::BITS - n.leading_zeros();
        loop {
            let r = self.next_u32() >> (u32::BITS - bits);
            if r < n {
                return r;
            }
        }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
        }
        self.next = 0;
    }
}

/// The word before `i`, mixed.
fn previous(state: &[u32; N], i: usize) -> u32 {
    state[i - 1] ^ (state[i - 1] >> 30)
}

/// The place after `i`; past the end, the last word becomes the first and seeding goes on at the second.
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

    // Expected numbers: CPython 3.

    #[test]
    fn generator_gives_pythons_numbers() {
        // random.seed(seed); y = [random.getrandbits(32) for _ in range(2000)]; y[0], y[623], y[624], y[1999]
        for (seed, expected) in [
            (0, [3_626_764_237, 2_390_040_247, 2_229_104_038, 3_908_016_617]),
            (88, [1_707_201_716, 3_125_099_610, 3_039_405_909, 2_900_544_613]),
        ] {
            let mut random = PythonRandom::new(seed);
            let y: Vec<u32> = (0..2000).map(|_| random.next_u32()).collect();
            assert_eq!([y[0], y[623], y[624], y[1999]], expected);
        }
        let mut random = PythonRandom::new(0x8000_0005);
        assert_eq!([(); 3].map(|()| random.next_u32()), [3_817_804_948, 2_541_178_257, 2_045_138_650]);
    }

    #[test]
    fn below_and_shuffle_give_pythons_numbers() {
        let mut random = PythonRandom::new(88);
        assert_eq!([10, 100, 15_625, 7, 3].map(|n| random.below(n)), [6, 24, 5452, 1, 2]);
        let mut x: Vec<u32> = (0..20).collect();
        PythonRandom::new(88).shuffle(&mut x);
        assert_eq!(x, [18, 14, 9, 4, 1, 17, 13, 3, 2, 7, 16, 15, 11, 19, 8, 0, 5, 10, 6, 12]);
    }
}
