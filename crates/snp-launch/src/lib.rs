// SPDX-License-Identifier: Apache-2.0

//! What SEV-SNP measures and checks when a guest is launched, computed without the hardware.
//!
//! A launch hands pages to the firmware, one after the other, and the firmware chains their hashes.
//! [`Plan`] is the list of these pages for an image; the same list drives a launch, a stand-in's
//! launch and the offline measurement, so that they cannot drift apart. [`Parameters`] are what the
//! firmware checks beside: policy, host data, ID block.
//!
//! ```
//! use snp_launch::{LaunchDigest, Update};
//!
//! let mut digest = LaunchDigest::default();
//! digest.update(0, &Update::Normal(&[7; 4096]))?;
//! digest.update(4096, &Update::Zero(2 << 20))?;
//! assert_eq!(digest.size().normal, 4096);
//! println!("{:02x?}", digest.value());
//! # Ok::<(), snp_launch::DigestError>(())
//! ```
//!
//! # An image as pages
//!
//! `keep-image` lays an image out for any virtual machine. Under SEV-SNP its parts become:
//!
//! | memory | page type | why |
//! |---|---|---|
//! | pages of the image with a byte that is not zero | normal | encrypted and hashed |
//! | pages of the image that are all zero; what the image's chunks do not fill; unused page tables | zero | the firmware clears and validates them; only type and address are hashed |
//! | the last page of the window of page tables | CPUID | see [`snp_guest::cpuid`]; the content is not measured |
//! | the last but one | secrets | see [`snp_guest::secrets`]; the content is not measured |
//! | the processor's state | VMSA | last, at the address `0xffff_ffff_f000` |
//! | the block shared with the host | none | shared; the GHCBs are in its unused part |
//! | all other memory | none | the Keep validates it before the first use |
//!
//! There are three differences to an image without SEV-SNP, all of which [`Plan`] makes:
//!
//! - Entries of page tables have the **C-bit**, but for those of the shared block. The first
//!   instruction runs with paging on, and memory without that bit is the hypervisor's. A kernel
//!   finds the bit in the entry of its own top-level table.
//! - Two pages of the window of page tables are taken. A kernel must not make page tables of them.
//! - The processor's state is the hardware's [`Vmsa`], with what KVM changes
//!   in what it is given: see [`vmsa_of`].
//!
//! What that asks of a kernel, beside what [`snp_guest`] does for it: the C-bit in every entry that it
//! makes, except for the shared block; two pages fewer for page tables; a handler of `#VC` (vector
//! 29), which the image's interrupt descriptor table has to name; the registration of its GHCB before
//! the first exit; and no touch of memory behind the image before `snp_guest::pages::Pages::acquire`.
//!
//! Zero pages are not hashed as content. They cost the firmware a command each all the same; a later
//! kernel may validate the unused page tables by itself, which leaves about a thousand out.
//!
//! Measurements by other programs agree with these: see `peers`. No launch on hardware has been made.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod cpuid;
mod digest;
mod parameters;
mod plan;
mod policy;
mod start;

pub use cpuid::{CpuidPageError, cpuid_page};
pub use digest::{DigestError, LaunchDigest, PageType, Size, Update};
pub use parameters::{ParameterError, Parameters, SignedId};
pub use plan::{Options, Plan, PlanError, layout};
pub use policy::{Policy, PolicyError};
pub use snp_guest::vmsa::{Segment, Vmsa};
pub use start::vmsa_of;

/// Bytes of a page.
pub const PAGE: usize = snp_guest::PAGE;
