// SPDX-License-Identifier: Apache-2.0

//! What computes TLS, and whether the processor can.
//!
//! The library panics on processors that lack what it is written for. What the processor has is
//! the host's word in a Keep, so it is asked first; a host that lies stops the Keep, which it can
//! do anyway.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

use crate::NetError;

/// The provider, made once.
///
/// # Errors
///
/// [`NetError::Cpu`].
pub fn provider() -> Result<Arc<CryptoProvider>, NetError> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    check_cpu()?;
    Ok(Arc::clone(PROVIDER.get_or_init(|| {
        let mut provider = rustls_graviola::default_provider();
        // TLS 1.3 alone; what is left over of 1.2 would only be offered and refused.
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        Arc::new(provider)
    })))
}

/// Whether the processor has all that TLS is computed with.
///
/// # Errors
///
/// [`NetError::Cpu`] names what it lacks.
pub fn check_cpu() -> Result<(), NetError> {
    #[cfg(target_arch = "x86_64")]
    {
        // BMI2 is not among what the library itself asks for, but its code uses it.
        let has = [
            ("AES", is_x86_feature_detected!("aes")),
            ("PCLMULQDQ", is_x86_feature_detected!("pclmulqdq")),
            ("SSSE3", is_x86_feature_detected!("ssse3")),
            ("BMI1", is_x86_feature_detected!("bmi1")),
            ("BMI2", is_x86_feature_detected!("bmi2")),
            ("ADX", is_x86_feature_detected!("adx")),
            ("AVX", is_x86_feature_detected!("avx")),
            ("AVX2", is_x86_feature_detected!("avx2")),
        ];
        let missing: Vec<&str> =
            has.iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect();
        if !missing.is_empty() {
            return Err(NetError::Cpu { missing: missing.join(", ") });
        }
    }
    Ok(())
}
