// SPDX-License-Identifier: Apache-2.0

//! An image as the pages of a launch: see the head of the crate for how and why.

use std::convert::Infallible;

use keep_image::{Image, PageKind, Sink, Start};
use keep_layout::{
    IMAGE_PHYS, PAGE, PROCESSORS, SHARED_PHYS, SHARED_SIZE, TABLES_PHYS, TABLES_SIZE,
};
use snp_guest::vmsa::Vmsa;

use crate::digest::{DigestError, LaunchDigest, Update};
use crate::start::vmsa_of;

/// Where the pages are that only SEV-SNP has.
pub use keep_layout::snp as layout;

/// What a plan depends on beside the image. All of it changes the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The bit of a page table's entry that makes a page private.
    pub c_bit: u8,
    /// How many processors are there when the launch finishes. KVM measures the state of each, also
    /// of those that never run.
    pub processors: u32,
}

impl Options {
    /// The C-bit of all processors with SEV-SNP so far.
    pub const C_BIT: u8 = 51;
}

impl Default for Options {
    fn default() -> Self {
        Self { c_bit: Self::C_BIT, processors: PROCESSORS as u32 }
    }
}

/// Why an image cannot be launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The C-bit is part of addresses that the image uses, or of what an entry has beside.
    #[error("bit {0} of a page table's entry cannot be the C-bit of this image")]
    CBit(u8),
    /// There must be at least one processor, and not more than there are GHCBs for.
    #[error("a Keep has 1 to {max} processors, not {0}", max = PROCESSORS)]
    Processors(u32),
    /// The image's page tables leave no room for the pages of SEV-SNP.
    #[error("the image's page tables end at {0:#x}, beyond the pages of SEV-SNP")]
    Tables(u64),
    /// Pages are out of order.
    #[error("the image has pages at {0:#x}, which is out of order or outside of the image")]
    Order(u64),
}

/// The content of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Normal(Vec<u8>),
    Zero(u64),
    Secrets,
    Cpuid,
    Vmsa(Box<[u8; PAGE as usize]>),
}

/// The pages of a launch, in the order in which they are launched and measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    parts: Vec<(u64, Content)>,
    vmsas: Vec<Vmsa>,
}

impl Plan {
    /// For an image.
    ///
    /// # Errors
    ///
    /// [`PlanError`].
    pub fn new(image: &Image<'_>, options: Options) -> Result<Self, PlanError> {
        let Options { c_bit, processors } = options;
        // Above all physical addresses of a Keep, below the bits of an entry that are no address.
        let above = SHARED_PHYS + SHARED_SIZE;
        if !(above.ilog2() as u8 + 1..=51).contains(&c_bit) {
            return Err(PlanError::CBit(c_bit));
        }
        if processors == 0 || u64::from(processors) > PROCESSORS {
            return Err(PlanError::Processors(processors));
        }
        let mut builder = Builder { parts: Vec::new(), at: TABLES_PHYS, c_bit, wrong: None };
        let Ok(()) = image.load(&mut builder);
        let end = image.info().image_end;
        builder.finish(end)?;
        let state = |number: u32| vmsa_of(&image.start().of(number.into()), c_bit);
        let vmsas: Vec<Vmsa> = (0..processors).map(state).collect();
        let mut parts = builder.parts;
        parts.extend(vmsas.iter().map(|vmsa| {
            let mut page = Box::new([0; PAGE as usize]);
            vmsa.write(&mut page);
            (0, Content::Vmsa(page))
        }));
        Ok(Self { parts, vmsas })
    }

    /// All parts: physical address and what is there. Parts of a kind that follow each other are
    /// one. States of processors are last, and have no address.
    pub fn parts(&self) -> impl Iterator<Item = (u64, Update<'_>)> {
        self.parts.iter().map(|(address, content)| {
            let update = match content {
                Content::Normal(bytes) => Update::Normal(bytes),
                Content::Zero(length) => Update::Zero(*length),
                Content::Secrets => Update::Secrets,
                Content::Cpuid => Update::Cpuid,
                Content::Vmsa(page) => Update::Vmsa(page),
            };
            (*address, update)
        })
    }

    /// The states of the processors, by their numbers.
    #[must_use]
    pub fn vmsas(&self) -> &[Vmsa] {
        &self.vmsas
    }

    /// The launch digest, as the firmware will compute it.
    ///
    /// # Errors
    ///
    /// None, for a plan has whole pages.
    pub fn digest(&self) -> Result<LaunchDigest, DigestError> {
        let mut digest = LaunchDigest::default();
        for (address, update) in self.parts() {
            digest.update(address, &update)?;
        }
        Ok(digest)
    }
}

/// Makes parts of an image's runs.
struct Builder {
    parts: Vec<(u64, Content)>,
    /// The end of the last part.
    at: u64,
    c_bit: u8,
    wrong: Option<PlanError>,
}

impl Sink for Builder {
    type Error = Infallible;

    fn pages(&mut self, phys: u64, kind: PageKind, bytes: &[u8]) -> Result<(), Infallible> {
        if self.wrong.is_none() {
            self.wrong = self.run(phys, kind, bytes).err();
        }
        Ok(())
    }

    fn start(&mut self, _: &Start) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Builder {
    fn run(&mut self, phys: u64, kind: PageKind, bytes: &[u8]) -> Result<(), PlanError> {
        if phys < self.at {
            return Err(PlanError::Order(phys));
        }
        if kind == PageKind::Tables {
            let end = phys + bytes.len() as u64;
            if end > layout::SECRETS_PHYS {
                return Err(PlanError::Tables(end));
            }
        } else if phys < IMAGE_PHYS {
            return Err(PlanError::Order(phys));
        } else {
            self.end_tables();
        }
        self.zero_to(phys);
        for page in bytes.chunks(PAGE as usize) {
            if page.iter().all(|byte| *byte == 0) {
                self.zero_to(self.at + PAGE);
            } else if kind == PageKind::Tables {
                let page = with_c_bit(page, self.c_bit);
                self.normal(&page);
            } else {
                self.normal(page);
            }
        }
        Ok(())
    }

    /// Fills the window of page tables up, once.
    fn end_tables(&mut self) {
        if self.at < IMAGE_PHYS {
            self.zero_to(layout::SECRETS_PHYS);
            self.parts.push((layout::SECRETS_PHYS, Content::Secrets));
            self.parts.push((layout::CPUID_PHYS, Content::Cpuid));
            self.at = TABLES_PHYS + TABLES_SIZE;
        }
    }

    fn finish(&mut self, end: u64) -> Result<(), PlanError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        self.end_tables();
        if self.at > end {
            return Err(PlanError::Order(self.at));
        }
        self.zero_to(end);
        Ok(())
    }

    fn zero_to(&mut self, end: u64) {
        let length = end.saturating_sub(self.at);
        if length == 0 {
            return;
        }
        if let Some((_, Content::Zero(last))) = self.parts.last_mut() {
            *last += length;
        } else {
            self.parts.push((self.at, Content::Zero(length)));
        }
        self.at = end;
    }

    fn normal(&mut self, page: &[u8]) {
        if let Some((_, Content::Normal(last))) = self.parts.last_mut() {
            last.extend_from_slice(page);
        } else {
            self.parts.push((self.at, Content::Normal(page.to_vec())));
        }
        self.at += PAGE;
    }
}

/// A page of tables whose present entries have the C-bit, but for those of the shared block.
fn with_c_bit(page: &[u8], c_bit: u8) -> Vec<u8> {
    const PRESENT: u64 = 1;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let entry = |bytes: &[u8; 8]| {
        let entry = u64::from_le_bytes(*bytes);
        let shared = (SHARED_PHYS..SHARED_PHYS + SHARED_SIZE).contains(&(entry & ADDRESS));
        let private = entry & PRESENT != 0 && !shared;
        (entry | u64::from(private) << c_bit).to_le_bytes()
    };
    page.as_chunks().0.iter().flat_map(entry).collect()
}
