// SPDX-License-Identifier: Apache-2.0

//! The initial images of Keeps as SEV-SNP and SGX measure them, and signatures over them.
//!
//! An image is the one that every backend loads. What it becomes on such hardware, and what has to hold for a
//! signature, is the business of `snp-launch` and `sgx-launch`, whose plans and checks are those of a launch.
//! `measure` and `sign` both come here, so that nothing is signed that would not be launched.
//! None of it has run on hardware yet.

use std::path::Path;

use clap::Args;
use command_line::{OrExit, files, hex};
use keep_backend::{Backend, Program};
use keep_image::Image;
use launch_keys::{SevSignature, Signatures, Sigstruct};
use serde::Serialize;
use sgx_launch::sign::{self, SignError};
use sgx_launch::{Identity, Plan as SgxPlan};
use snp_launch::{LaunchDigest, Options, ParameterError, Parameters, Plan, PlanError, SignedId};

use crate::exit::{Code, Failure};

/// Hardware that images can be measured and signed for on any machine.
pub(crate) const NAMES: [&str; 2] = ["snp", "sgx"];

/// What the launch digest of SEV-SNP depends on beside the image.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct SnpArgs {
    /// How many virtual processors are measured on SEV-SNP [default: 7, as in each launch]
    #[arg(long, value_name = "NUMBER")]
    processors: Option<u32>,

    /// The bit of page tables that marks private memory on SEV-SNP, by CPUID 0x8000001F [default: 51]
    #[arg(long, value_name = "BIT")]
    c_bit: Option<u8>,
}

impl SnpArgs {
    /// Whether anything was said.
    pub(crate) fn is_given(&self) -> bool {
        self.processors.is_some() || self.c_bit.is_some()
    }

    fn options(self) -> Options {
        let default = Options::default();
        Options {
            c_bit: self.c_bit.unwrap_or(default.c_bit),
            processors: self.processors.unwrap_or(default.processors),
        }
    }
}

/// The image of a program.
pub(crate) fn image(program: Program) -> Result<Image<'static>, Failure> {
    let bytes = match program {
        Program::Compiler => keep_programs::COMPILER_IMAGE,
        Program::Runtime => keep_programs::RUNTIME_IMAGE,
    };
    Image::decode(bytes)
        .or_exit_with(Code::Failed, || format!("the image of the {} is damaged", program.name()))
}

/// An image as SEV-SNP measures it.
pub(crate) struct Snp {
    pub(crate) options: Options,
    pub(crate) digest: LaunchDigest,
}

impl Snp {
    pub(crate) fn new(image: &Image<'_>, args: SnpArgs) -> Result<Self, Failure> {
        let options = args.options();
        let plan = Plan::new(image, options).map_err(|error| {
            let by_option = matches!(error, PlanError::CBit(_) | PlanError::Processors(_));
            Failure::new(if by_option { Code::Usage } else { Code::Failed }, error)
        })?;
        Ok(Self { options, digest: plan.digest().or_exit(Code::Failed)? })
    }

    /// Holds a signature against the image, as a launch does: what it is launched with, and who signed.
    pub(crate) fn check(&self, signature: &SevSignature) -> Result<SnpSigned, ParameterError> {
        // The workload is no part of it.
        let parameters = Parameters::signed([0; 32], SignedId::new(signature)?);
        let signers = parameters.check(&self.digest.value())?;
        // There are signers, for there is a signature.
        let (Some(signers), Some(SignedId { block, .. })) = (signers, parameters.id) else {
            return Err(ParameterError::Measurement);
        };
        Ok(SnpSigned {
            policy: format!("{:#x}", block.policy),
            id_key_digest: hex(&signers.id_key),
            author_key_digest: signers.author_key.map(|digest| hex(&digest)),
            guest_svn: block.svn,
            family_id: hex(&block.family),
            image_id: hex(&block.image),
        })
    }
}

/// What a signature says of an image on SEV-SNP, in the words of a report.
#[derive(Debug, Serialize)]
pub(crate) struct SnpSigned {
    /// Shown with the launch's.
    #[serde(skip)]
    pub(crate) policy: String,
    pub(crate) id_key_digest: String,
    pub(crate) author_key_digest: Option<String>,
    guest_svn: u32,
    family_id: String,
    image_id: String,
}

/// What a signature says of an image on SGX, in the words of a report.
#[derive(Debug, Serialize)]
pub(crate) struct SgxSigned {
    pub(crate) mrsigner: String,
    isv_prod_id: u16,
    isv_svn: u16,
    family_id: String,
    ext_prod_id: String,
}

/// Holds a SIGSTRUCT against an enclave, as a launch does.
pub(crate) fn check_sgx(plan: &SgxPlan<'_>, signature: &[u8]) -> Result<SgxSigned, SignError> {
    let signature = Sigstruct::from_bytes(signature).map_err(|_| SignError::Malformed)?;
    let Identity { signer, product, svn, family, ext_product, .. } = sign::check(plan, &signature)?;
    Ok(SgxSigned {
        mrsigner: hex(&signer),
        isv_prod_id: product,
        isv_svn: svn,
        family_id: hex(&family),
        ext_prod_id: hex(&ext_product),
    })
}

/// The digest that `enarx measure` prints for a hardware backend, which the stand-in of one has as well; none
/// for others.
pub(crate) fn digest(backend: &str, program: Program) -> Result<Option<String>, Failure> {
    let image = image(program)?;
    Ok(match backend.trim_end_matches("-sim") {
        "snp" => Some(hex(&Snp::new(&image, SnpArgs::default())?.digest.value())),
        "sgx" => {
            let enclave = sgx_launch::image::Enclave::new(&image);
            Some(hex(&enclave.plan([0; 64]).or_exit(Code::Failed)?.measure()))
        }
        _ => None,
    })
}

/// A signature that was made to try signatures.
pub(crate) struct Trial {
    pub(crate) signatures: keep_backend::Signatures,
    /// Who signed, as evidence will name it.
    pub(crate) signer: String,
}

/// Signs a program for a hardware backend, or the stand-in of one, with keys that are then forgotten.
pub(crate) fn sign_for_trial(backend: &str, program: Program) -> Result<Trial, Failure> {
    let image = image(program)?;
    let (id_block, id_auth, sigstruct) = (Vec::new(), Vec::new(), Vec::new());
    let none = keep_backend::Signatures { id_block, id_auth, sigstruct };
    if backend.starts_with("sgx") {
        let enclave = sgx_launch::image::Enclave::new(&image);
        let plan = enclave.plan([0; 64]).or_exit(Code::Failed)?;
        let date = launch_keys::sigstruct_date(2026, 1, 1).unwrap_or_default();
        let terms = sign::Terms { date, ..sign::Terms::default() };
        let described = sign::describe(&plan, &terms).or_exit(Code::Failed)?;
        let key = launch_keys::SgxKey::generate().or_exit(Code::Failed)?;
        let sigstruct = key.sign(&described).or_exit(Code::Failed)?;
        let signatures = keep_backend::Signatures { sigstruct, ..none };
        return Ok(Trial { signatures, signer: hex(&key.mrsigner()) });
    }
    let generate = || launch_keys::SevKey::generate().or_exit(Code::Failed);
    let (author, id) = (generate()?, generate()?);
    let block = launch_keys::IdBlock {
        measurement: Snp::new(&image, SnpArgs::default())?.digest.value(),
        family: [0; 16],
        image: [0; 16],
        svn: 0,
        policy: snp_launch::Policy::KEEP.bits(),
    };
    let by_author = launch_keys::sign_id_key(&author, &id).or_exit(Code::Failed)?;
    let id_auth = launch_keys::id_auth(&block, &id, &by_author).or_exit(Code::Failed)?;
    let signatures = keep_backend::Signatures { id_block: block.to_bytes(), id_auth, ..none };
    Ok(Trial { signatures, signer: hex(&author.digest()) })
}

/// What is handed over at a launch on that backend: the signatures of a file, if one was named.
pub(crate) fn launch_signatures(
    path: Option<&Path>,
    backend: &dyn Backend,
) -> Result<Option<keep_backend::Signatures>, Failure> {
    let Some(path) = path else { return Ok(None) };
    if !backend.takes_signatures() {
        let message = format!("the {} backend launches without signatures", backend.name());
        return Err(Failure::msg(Code::Usage, message)
            .help("--signatures is for hardware and its stand-ins: name one with --backend"));
    }
    let Signatures { sev, sgx, .. } = signatures(path)?;
    let SevSignature { id_block, id_auth } = sev;
    Ok(Some(keep_backend::Signatures { id_block, id_auth, sigstruct: sgx }))
}

/// Reads a file of signatures of this version.
pub(crate) fn signatures(path: &Path) -> Result<Signatures, Failure> {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let read = Signatures::from_json(&files::read(path)?).ok_or_else(|| {
        Failure::msg(Code::Input, format_args!("{} is no file of signatures", path.display()))
            .help("`enarx sign` makes one")
    })?;
    if read.version != VERSION {
        let (path, version) = (path.display(), &read.version);
        let error = format!("{path} has signatures for Enarx {version}; this is {VERSION}");
        return Err(Failure::msg(Code::Input, error).help("sign the images of this version"));
    }
    Ok(read)
}
