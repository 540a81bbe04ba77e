// SPDX-License-Identifier: Apache-2.0

//! Backends on systems where they cannot work. They exist there, so that callers need no conditions
//! of their own, and say what to do.

use crate::{Backend, BackendError, Datum, Launched, Measurement, Program, Spec};

/// A backend that needs Linux on x86-64, on another system.
pub trait Elsewhere: Send + Sync {
    /// [`Backend::name`].
    const NAME: &'static str;
    /// [`Backend::is_confidential`].
    const IS_CONFIDENTIAL: bool;
    /// [`Backend::takes_signatures`].
    const TAKES_SIGNATURES: bool;
    /// What to do about it, as the probe says it.
    const REMEDY: &'static str = "use a machine with Linux on x86-64, or the nil backend";
}

impl<T: Elsewhere> Backend for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn is_confidential(&self) -> bool {
        T::IS_CONFIDENTIAL
    }

    fn takes_signatures(&self) -> bool {
        T::TAKES_SIGNATURES
    }

    fn probe(&self) -> Vec<Datum> {
        vec![Datum::fail("Linux on x86-64", None, T::REMEDY)]
    }

    fn measure(&self, _: Program) -> Result<Measurement, BackendError> {
        Err(unavailable(T::NAME))
    }

    fn launch(&self, _: Spec) -> Result<Launched, BackendError> {
        Err(unavailable(T::NAME))
    }
}

fn unavailable(backend: &'static str) -> BackendError {
    BackendError::Unavailable {
        backend,
        problem: "it needs Linux on x86-64".into(),
        remedy: "use the nil backend".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl Elsewhere for Nowhere {
        const NAME: &'static str = "nowhere";
        const IS_CONFIDENTIAL: bool = true;
        const TAKES_SIGNATURES: bool = false;
    }

    #[test]
    fn it_says_what_to_do() {
        let backend: &dyn Backend = &Nowhere;
        assert_eq!((backend.name(), backend.is_confidential()), ("nowhere", true));
        let probe = backend.probe();
        assert!(probe.iter().all(|datum| !datum.pass && datum.remedy.is_some()), "{probe:?}");
        let Err(BackendError::Unavailable { backend, .. }) = backend.measure(Program::Runtime)
        else {
            panic!("it works here");
        };
        assert_eq!(backend, "nowhere");
    }
}
