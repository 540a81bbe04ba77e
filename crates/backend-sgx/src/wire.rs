// SPDX-License-Identifier: Apache-2.0

//! What a carrier is told: the setup, once, after its sockets. What is said later is in `sgx_run::wire`.
//!
//! Both sides are the same executable, so the form is not for keeping.

use std::io::{self, Read, Write};

use keep_backend::Program;

/// Bytes of a SIGSTRUCT.
pub(crate) const SIGSTRUCT: usize = 1808;
const MAGIC: [u8; 8] = *b"SGXKEEP2";

/// What a carrier is to launch. The image it has itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) program: Program,
    pub(crate) config_id: [u8; 64],
    pub(crate) signature: [u8; SIGSTRUCT],
}

impl Setup {
    const SIZE: usize = 8 + 1 + 64 + SIGSTRUCT;

    pub(crate) fn send(&self, mut to: impl Write) -> io::Result<()> {
        let program = [u8::from(self.program == Program::Compiler)];
        let parts: [&[u8]; 4] = [&MAGIC, &program, &self.config_id, &self.signature];
        to.write_all(&parts.concat())
    }

    pub(crate) fn receive(mut from: impl Read) -> io::Result<Self> {
        let mut bytes = [0; Self::SIZE];
        from.read_exact(&mut bytes)?;
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let (magic, rest) = bytes.split_first_chunk().ok_or_else(malformed)?;
        let (program, rest) = rest.split_first().ok_or_else(malformed)?;
        let (config_id, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let signature = rest.first_chunk().ok_or_else(malformed)?;
        if *magic != MAGIC {
            return Err(malformed());
        }
        let program = if *program == 1 { Program::Compiler } else { Program::Runtime };
        Ok(Self { program, config_id: *config_id, signature: *signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_comes_as_it_was_sent() {
        let mut signature = [3; SIGSTRUCT];
        signature[SIGSTRUCT - 1] = 4;
        for program in Program::ALL {
            let setup = Setup { program, config_id: [5; 64], signature };
            let mut bytes = Vec::new();
            setup.send(&mut bytes).unwrap();
            assert_eq!(Setup::receive(&*bytes).unwrap(), setup);
            assert!(Setup::receive(&bytes[1..]).is_err());
        }
    }
}
