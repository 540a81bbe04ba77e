// SPDX-License-Identifier: Apache-2.0

//! What the backend tells the machine of a Keep at the start: the enclave's plan, page by page, its signature,
//! the host's mappings, the platform's secrets.
//!
//! It follows the shared block in the same piece of memory. Both sides are the same executable and the writer is
//! the one who is trusted, so the form is simple and not for keeping: words, then bytes. It is read with bounds
//! nevertheless, because a mistake there would show in strange ways.

use sgx_guest::page::{PAGE, Rights, SecInfo};
use sgx_launch::{Content, Plan, PlanError, Region, Secs};

use crate::hostile::Trick;
use crate::platform::Platform;

const MAGIC: u64 = u64::from_le_bytes(*b"SGXSETUP");
/// Bytes of a SIGSTRUCT.
const SIGSTRUCT: usize = 1808;
/// More of anything than there ever is.
const MANY: u64 = 1 << 16;

/// Addresses that the host maps for the enclave before the first entry, and with which rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostMapping {
    /// The first address.
    pub start: u64,
    /// The address behind the last one.
    pub end: u64,
    /// What the host's page tables allow.
    pub rights: Rights,
}

/// All of it.
pub(crate) struct Setup<'a> {
    pub(crate) plan: Plan<'a>,
    pub(crate) signature: &'a [u8],
    pub(crate) platform: Platform,
    /// Pages that may be added while the enclave runs.
    pub(crate) limit: u64,
    /// Where the shared block is mapped.
    pub(crate) shared: u64,
    /// The threads that run, by the numbers of their processors.
    pub(crate) tcs: Vec<u64>,
    pub(crate) mappings: Vec<HostMapping>,
    pub(crate) tricks: Vec<Trick>,
}

impl Setup<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (mappings, tricks) = (&self.mappings, &self.tricks);
        let regions = self.plan.regions();
        let counts = [self.tcs.len(), mappings.len(), tricks.len(), regions.len()];
        let mut words = vec![MAGIC, self.limit, self.shared];
        words.extend(counts.map(|count| count as u64));
        words.extend(&self.tcs);
        words.extend(mappings.iter().flat_map(|m| [m.start, m.end, m.rights.bits()]));
        words.extend(tricks.iter().flat_map(|trick| trick.to_words()));
        for region in regions {
            let zeros = matches!(region.content, Content::Zeros(_));
            let kind = u64::from(zeros) | u64::from(region.measured) << 1;
            words.extend([region.offset, region.info.flags(), kind, region.content.len()]);
        }
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.extend(self.plan.secs().to_bytes());
        bytes.extend(self.signature);
        bytes.extend(self.platform.to_bytes());
        bytes.resize(bytes.len().next_multiple_of(PAGE as usize), 0);
        for region in regions {
            if let Content::Bytes(content) = region.content {
                bytes.extend(content);
            }
        }
        bytes
    }
}

/// Why a setup cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetupError {
    #[error("the description of the enclave is damaged")]
    Damaged,
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl<'a> Setup<'a> {
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<Self, SetupError> {
        const D: SetupError = SetupError::Damaged;
        let mut rest = Rest(bytes);
        let [magic, limit, shared] = rest.words()?;
        let counts: [u64; 4] = rest.words()?;
        if magic != MAGIC || counts.iter().any(|count| *count > MANY) {
            return Err(D);
        }
        let [tcs_count, mapping_count, trick_count, region_count] = counts;
        let tcs = (0..tcs_count)
            .map(|_| rest.words().map(|[tcs]| tcs))
            .collect::<Result<_, SetupError>>()?;
        let mappings = (0..mapping_count)
            .map(|_| {
                let [start, end, rights] = rest.words()?;
                Ok(HostMapping { start, end, rights: Rights::from_bits(rights) })
            })
            .collect::<Result<_, SetupError>>()?;
        let tricks = (0..trick_count)
            .map(|_| Trick::from_words(rest.words()?).ok_or(D))
            .collect::<Result<_, SetupError>>()?;
        let heads = (0..region_count)
            .map(|_| rest.words())
            .collect::<Result<Vec<[u64; 4]>, SetupError>>()?;
        let secs = rest.take(Secs::SIZE)?.first_chunk().ok_or(D)?;
        let mut plan = Plan::new(Secs::from_bytes(secs).ok_or(D)?);
        let signature = rest.take(SIGSTRUCT)?;
        let platform = rest.take(Platform::SIZE)?.first_chunk().ok_or(D)?;
        let head = bytes.len() - rest.0.len();
        rest.take(head.next_multiple_of(PAGE as usize) - head)?;
        for [offset, flags, kind, length] in heads {
            let mut info = [0; SecInfo::SIZE];
            info[..8].copy_from_slice(&flags.to_le_bytes());
            let info = SecInfo::from_bytes(&info).map_err(|_| D)?;
            let content = match kind & 1 {
                0 => Content::Bytes(rest.take(usize::try_from(length).map_err(|_| D)?)?),
                _ => Content::Zeros(length),
            };
            plan.push(Region { offset, info, content, measured: kind & 2 != 0 })?;
        }
        let platform = Platform::from_bytes(platform);
        Ok(Self { plan, signature, platform, limit, shared, tcs, mappings, tricks })
    }
}

/// Bytes that were not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], SetupError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(SetupError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn words<const N: usize>(&mut self) -> Result<[u64; N], SetupError> {
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(self.take(N * 8)?.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Ok(words)
    }
}
