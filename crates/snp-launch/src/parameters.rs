// SPDX-License-Identifier: Apache-2.0

//! What a launch says to the firmware beside the pages: `SNP_LAUNCH_START` and `SNP_LAUNCH_FINISH`
//! (AMD 56860).

use launch_keys::{IdBlock, IdSigners, KeyError, SevSignature, check_id_auth};

use crate::policy::{Policy, PolicyError};

/// An ID block with its authentication: what somebody signed of a launch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedId {
    /// The block.
    pub block: IdBlock,
    /// Its authentication, 4096 bytes.
    pub auth: Vec<u8>,
}

/// What the firmware is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// What the host may do with the guest.
    pub policy: Policy,
    /// `GOSVW`: workarounds that the hypervisor shows to the guest. Not measured.
    pub gosvw: [u8; 16],
    /// `HOST_DATA`: the digest of the workload, so that reports bind it. The host says it, a Keep
    /// holds what it was given against it.
    pub host_data: [u8; 32],
    /// Who signed the image.
    pub id: Option<SignedId>,
}

/// Why a launch would be refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParameterError {
    /// The policy is none for a Keep.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// An ID block or its authentication is malformed, or a signature is wrong.
    #[error("the image's signature cannot be used: {0}")]
    Signature(#[from] KeyError),
    /// What was signed is another image.
    #[error("the signature is for an image with another measurement")]
    Measurement,
    /// What was signed is another policy.
    #[error("the signature is for the policy {signed:#x}, not {policy:#x}")]
    SignedPolicy {
        /// That of the ID block.
        signed: u64,
        /// That of the launch.
        policy: u64,
    },
}

impl ParameterError {
    /// A stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Policy(PolicyError::Debug) => "snp-launch.policy-debug",
            Self::Policy(PolicyError::MigrationAgent) => "snp-launch.policy-migration",
            Self::Policy(PolicyError::Reserved(_)) => "snp-launch.policy-reserved",
            Self::Policy(PolicyError::Abi(..)) => "snp-launch.policy-abi",
            Self::Signature(KeyError::BadSignature) => "snp-launch.signature",
            Self::Signature(_) => "snp-launch.signature-malformed",
            Self::Measurement => "snp-launch.measurement",
            Self::SignedPolicy { .. } => "snp-launch.signed-policy",
        }
    }
}

impl SignedId {
    /// From a file of signatures.
    ///
    /// # Errors
    ///
    /// [`ParameterError::Signature`] if the block is none.
    pub fn new(signature: &SevSignature) -> Result<Self, ParameterError> {
        let block = IdBlock::from_bytes(&signature.id_block)?;
        Ok(Self { block, auth: signature.id_auth.clone() })
    }
}

impl Parameters {
    /// For a workload with that digest, unsigned.
    #[must_use]
    pub fn new(workload: [u8; 32]) -> Self {
        Self { policy: Policy::KEEP, gosvw: [0; 16], host_data: workload, id: None }
    }

    /// For a workload with that digest and a signed image. The policy is the one that was signed, for the
    /// firmware refuses any other; [`Parameters::check`] says whether it is one for a Keep.
    #[must_use]
    pub fn signed(workload: [u8; 32], id: SignedId) -> Self {
        let policy = Policy::new(id.block.policy);
        Self { policy, id: Some(id), ..Self::new(workload) }
    }

    /// Checks what the firmware will check, for a launch digest; gives who signed, as reports will
    /// name them.
    ///
    /// # Errors
    ///
    /// [`ParameterError`].
    pub fn check(&self, measurement: &[u8; 48]) -> Result<Option<IdSigners>, ParameterError> {
        self.policy.check()?;
        let Some(SignedId { block, auth }) = &self.id else { return Ok(None) };
        let signers = check_id_auth(block, auth)?;
        if block.measurement != *measurement {
            return Err(ParameterError::Measurement);
        }
        if block.policy != self.policy.bits() {
            let (signed, policy) = (block.policy, self.policy.bits());
            return Err(ParameterError::SignedPolicy { signed, policy });
        }
        Ok(Some(signers))
    }
}
