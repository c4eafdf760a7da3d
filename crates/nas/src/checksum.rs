//! MD5, which the data sets' authors publish and checkpoints are checked by. It finds damage, it does not prove who made a file.

use std::io::{self, Read};

use md5::{Digest, Md5};

/// Hexadecimal MD5 of `bytes`.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(&Md5::digest(bytes))
}

/// MD5 of bytes that come piece by piece.
#[derive(Default)]
pub(crate) struct Sum(Md5);

impl Sum {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Hexadecimal.
    pub(crate) fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Hexadecimal MD5 of what a reader gives.
pub(crate) fn of_reader(mut reader: impl Read) -> io::Result<String> {
    let mut sum = Sum::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(sum.finish()),
            Ok(n) => sum.add(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_digests() {
        // RFC 1321, appendix A.5.
        assert_eq!(of_bytes(b""), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(of_reader(&b"message digest"[..]).unwrap(), "f96b697d7cb7938d525a2f31aaf161d0");
    }
}
