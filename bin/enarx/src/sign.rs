// SPDX-License-Identifier: Apache-2.0

//! `enarx sign`: signatures over the image of a Keep, for hardware that demands them.
//!
//! Keys are checked before anything is signed, and signatures before they are written: by the code that holds
//! them against the image at a launch.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueHint};
use command_line::files::Access;
use command_line::{OrExit, files, print_bytes};
use evidence_claims::Time;
use launch_keys::{IdBlock, SevSignature, Signatures, check_id_key_signature, id_auth};
use sgx_launch::image::Enclave;
use sgx_launch::sign::{self, Terms};
use snp_launch::Policy;

use crate::exit::{Code, Failure};
use crate::hardware::{self, Snp, SnpArgs};
use crate::key::{sev, sgx};
use crate::units::{self, ProgramName};

/// Sign the image of a Keep for SGX and SEV-SNP
///
/// The file with the signatures (enarx.sig) is for this version of Enarx and for one of its two programs.
/// `enarx measure --signatures` shows who signed, and checks it as a launch would.
#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The key for SGX
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    sgx_key: PathBuf,

    /// The ID key for SEV-SNP
    #[arg(long, value_name = "KEY", value_hint = ValueHint::FilePath)]
    sev_id_key: PathBuf,

    /// The author's signature over the ID key, of `enarx key sev sign`
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    sev_id_key_signature: PathBuf,

    /// Which of the two programs
    #[arg(long, value_name = "NAME", default_value = "runtime", value_parser = units::program)]
    program: ProgramName,

    #[command(flatten)]
    snp: SnpArgs,

    /// The guest policy on SEV-SNP; no debugging, no migration agent, firmware of ABI 1.51 or later
    #[arg(long, value_name = "POLICY", default_value = "0x30133", value_parser = units::flags)]
    sev_policy: u64,

    /// The security version: GUEST_SVN and ISVSVN
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    svn: u16,

    /// The product on SGX: ISVPRODID
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    product_id: u16,

    /// The family, 32 hexadecimal digits: FAMILY_ID and ISVFAMILYID [default: zeros]
    #[arg(long, value_name = "ID", value_parser = units::id)]
    family_id: Option<[u8; 16]>,

    /// The image, 32 hexadecimal digits: IMAGE_ID and ISVEXTPRODID [default: zeros]
    #[arg(long, value_name = "ID", value_parser = units::id)]
    image_id: Option<[u8; 16]>,

    /// The day of the signature for SGX, YYYY-MM-DD [default: today, UTC]
    #[arg(long, value_name = "DAY", value_parser = units::day)]
    date: Option<u32>,

    /// The new file; without it, stdout
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &SignArgs) -> Result<(), Failure> {
    if let Some(path) = &args.out {
        files::check_absent(&[path])?;
    }
    Policy::new(args.sev_policy)
        .check()
        .or_exit_with(Code::Usage, || format!("{:#x} is no policy for a Keep", args.sev_policy))?;
    let signatures = Signatures {
        version: env!("CARGO_PKG_VERSION").into(),
        sev: for_snp(args)?,
        sgx: for_sgx(args)?,
    };
    match &args.out {
        Some(path) => files::create_all(&[(path, &signatures.to_json(), Access::Public)]),
        None => print_bytes(&signatures.to_json()),
    }
}

/// An ID block with its authentication.
fn for_snp(args: &SignArgs) -> Result<SevSignature, Failure> {
    let key = sev(&args.sev_id_key)?;
    let path = &args.sev_id_key_signature;
    let key_signature = files::read(path)?;
    check_id_key_signature(&key_signature, &key)
        .or_exit_with(Code::Input, || format!("{} does not fit the ID key", path.display()))?;
    let snp = Snp::new(&hardware::image(args.program.0)?, args.snp)?;
    let block = IdBlock {
        measurement: snp.digest.value(),
        family: args.family_id.unwrap_or_default(),
        image: args.image_id.unwrap_or_default(),
        svn: args.svn.into(),
        policy: args.sev_policy,
    };
    let id_auth = id_auth(&block, &key, &key_signature).or_exit(Code::Failed)?;
    let signature = SevSignature { id_block: block.to_bytes(), id_auth };
    snp.check(&signature).or_exit(Code::Failed).map_err(useless)?;
    Ok(signature)
}

/// A SIGSTRUCT.
fn for_sgx(args: &SignArgs) -> Result<Vec<u8>, Failure> {
    let key = sgx(&args.sgx_key)?;
    let image = hardware::image(args.program.0)?;
    let enclave = Enclave::new(&image);
    // The workload is no part of what is signed.
    let plan = enclave.plan([0; 64]).or_exit(Code::Failed)?;
    let terms = Terms {
        date: args.date.or_else(today).unwrap_or_default(),
        product: args.product_id,
        svn: args.svn,
        family: args.family_id.unwrap_or_default(),
        ext_product: args.image_id.unwrap_or_default(),
    };
    let enclave = sign::describe(&plan, &terms).or_exit(Code::Failed)?;
    let signature = key.sign(&enclave).or_exit(Code::Failed)?;
    hardware::check_sgx(&plan, &signature).or_exit(Code::Failed).map_err(useless)?;
    Ok(signature)
}

fn useless(failure: Failure) -> Failure {
    failure.context("the signature that was made is refused, and nothing was written")
}

/// Today as a SIGSTRUCT has it; none if the clock stands before 1970.
fn today() -> Option<u32> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let text = Time::from_unix(now.as_secs()).to_string();
    units::day(text.get(..10)?).ok()
}
