// SPDX-License-Identifier: Apache-2.0

//! `enarx measure`: the digests of the initial images, without a launch.

use anyhow::anyhow;
use command_line::{OrExit, hex, print};
use keep_backend::{Backend, BackendError, Measurement, Program};
use keep_image::Image;
use launch_keys::Signatures;
use serde::Serialize;
use sgx_launch::image::Enclave;
use sgx_launch::sign::SignError;
use snp_launch::{ParameterError, Policy};

use crate::backends;
use crate::cli::MeasureArgs;
use crate::exit::{Code, Failure};
use crate::hardware::{self, SgxSigned, Snp, SnpSigned};

/// A measurement and whose it is.
#[derive(Debug, Serialize)]
struct Line {
    backend: &'static str,
    #[serde(flatten)]
    measurement: Measurement,
    #[serde(flatten)]
    details: Option<Details>,
}

/// What hardware looks at beside the digest.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Details {
    Snp {
        /// The image in the form of all backends.
        image: String,
        processors: u32,
        c_bit: u8,
        policy: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        signed: Option<SnpSigned>,
    },
    Sgx {
        image: String,
        attributes: String,
        xfrm: String,
        misc_select: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        signed: Option<SgxSigned>,
    },
}

pub(crate) fn run(args: &MeasureArgs) -> Result<(), Failure> {
    let hardware = args.backend.as_deref().filter(|name| hardware::NAMES.contains(name));
    if args.snp.is_given() && hardware != Some("snp") {
        let message = "the number of processors and the C-bit count on SEV-SNP alone";
        return Err(Failure::msg(Code::Usage, message).help("add --backend snp"));
    }
    if args.signatures.is_some() && hardware.is_none() {
        let message = "signatures are for hardware";
        return Err(Failure::msg(Code::Usage, message).help("add --backend snp or --backend sgx"));
    }
    let lines = match hardware {
        Some(name) => on_hardware(name, args)?,
        None => by_backends(args)?,
    };
    if args.json {
        let version = env!("CARGO_PKG_VERSION");
        let value = serde_json::json!({ "version": version, "measurements": lines });
        return print(&format!("{value:#}\n"));
    }
    let mut text = String::new();
    for Line { backend, measurement, details } in &lines {
        let Measurement { program, algorithm, digest, size } = measurement;
        text += &format!("{backend} {:<8} {size:>9} bytes  {algorithm}:{digest}\n", program.name());
        text += &details.as_ref().map(Details::show).unwrap_or_default();
    }
    print(&text)
}

fn programs(args: &MeasureArgs) -> impl Iterator<Item = Program> {
    let only = args.program;
    Program::ALL.into_iter().filter(move |program| only.is_none_or(|only| only.0 == *program))
}

fn by_backends(args: &MeasureArgs) -> Result<Vec<Line>, Failure> {
    let chosen = match args.backend.as_deref() {
        Some(name) => vec![backends::named(name, None).ok_or_else(|| {
            let error = anyhow!("the {name} backend is not part of enarx for this system");
            Failure::new(Code::Backend, error)
        })?],
        None => {
            let has_to_be_named = |name| hardware::NAMES.contains(&name);
            backends::all().into_iter().filter(|one| !has_to_be_named(one.name())).collect()
        }
    };
    let mut lines = Vec::new();
    for backend in &chosen {
        for program in programs(args) {
            match backend.measure(program) {
                Ok(measurement) => {
                    lines.push(Line { backend: backend.name(), measurement, details: None });
                }
                // Not every backend has an image of every program.
                Err(BackendError::Unsupported(_)) if args.backend.is_none() => {}
                Err(error) => return Err(failed(&**backend, program, error)),
            }
        }
    }
    Ok(lines)
}

fn failed(backend: &dyn Backend, program: Program, error: BackendError) -> Failure {
    let what = format!("cannot measure the {} of the {} backend", program.name(), backend.name());
    Failure::new(Code::Failed, anyhow!(error).context(what))
}

fn on_hardware(name: &str, args: &MeasureArgs) -> Result<Vec<Line>, Failure> {
    let signatures = args.signatures.as_deref().map(hardware::signatures).transpose()?;
    let lines = programs(args).map(|program| {
        let image = hardware::image(program)?;
        match name {
            "snp" => on_snp(program, &image, args, signatures.as_ref()),
            _ => on_sgx(program, &image, args, signatures.as_ref()),
        }
    });
    lines.collect()
}

fn on_snp(
    program: Program,
    image: &Image<'_>,
    args: &MeasureArgs,
    signatures: Option<&Signatures>,
) -> Result<Line, Failure> {
    let snp = Snp::new(image, args.snp)?;
    let signed = signatures.map(|all| snp.check(&all.sev)).transpose().map_err(|error| {
        let other = error == ParameterError::Measurement;
        refused(args, program, error, other)
    })?;
    let policy = format!("{:#x}", Policy::KEEP.bits());
    let details = Details::Snp {
        image: name_of(image),
        processors: snp.options.processors,
        c_bit: snp.options.c_bit,
        policy: signed.as_ref().map_or(policy, |signed| signed.policy.clone()),
        signed,
    };
    let measurement = Measurement {
        program,
        algorithm: "sha384/snp-launch-digest".into(),
        digest: hex(&snp.digest.value()),
        size: snp.digest.size().measured(),
    };
    Ok(Line { backend: "snp", measurement, details: Some(details) })
}

fn on_sgx(
    program: Program,
    image: &Image<'_>,
    args: &MeasureArgs,
    signatures: Option<&Signatures>,
) -> Result<Line, Failure> {
    let enclave = Enclave::new(image);
    // The workload is no part of the measurement.
    let plan = enclave.plan([0; 64]).or_exit(Code::Failed)?;
    let signed = signatures.map(|all| hardware::check_sgx(&plan, &all.sgx)).transpose();
    let signed = signed.map_err(|error| {
        let other = error == SignError::Measurement;
        refused(args, program, error, other)
    })?;
    let attributes = plan.secs().attributes;
    let details = Details::Sgx {
        image: name_of(image),
        attributes: format!("{:#x}", attributes.flags),
        xfrm: format!("{:#x}", attributes.xfrm),
        misc_select: format!("{:#x}", plan.secs().misc_select),
        signed,
    };
    let measurement = Measurement {
        program,
        algorithm: "sha256/mrenclave".into(),
        digest: hex(&plan.measure()),
        size: plan.measured_bytes(),
    };
    Ok(Line { backend: "sgx", measurement, details: Some(details) })
}

/// The same image has the same name on each backend that loads images.
fn name_of(image: &Image<'_>) -> String {
    format!("{}:{}", keep_image::ALGORITHM, image.measure().hex())
}

/// `other`: whether another image was signed.
fn refused(
    args: &MeasureArgs,
    program: Program,
    error: impl Into<anyhow::Error>,
    other: bool,
) -> Failure {
    let path = args.signatures.clone().unwrap_or_default();
    let (path, name) = (path.display(), program.name());
    let failure = Failure::new(Code::Input, error)
        .context(format!("with {path} the {name} would not be launched"));
    if !other {
        return failure;
    }
    failure.help(
        "signatures are for one program of one build, and on SEV-SNP for one number of processors \
         and one C-bit",
    )
}

impl Details {
    /// For a person, below the digest.
    fn show(&self) -> String {
        match self {
            Self::Snp { image, processors, c_bit, policy, signed } => {
                let mut text = format!(
                    "    policy {policy}, processors {processors}, C-bit {c_bit}\n    image {image}\n"
                );
                if let Some(SnpSigned { id_key_digest, author_key_digest, .. }) = signed {
                    text += &format!("    ID key {id_key_digest}\n");
                    let author = author_key_digest.as_deref().unwrap_or("none");
                    text += &format!("    author key {author}\n");
                }
                text
            }
            Self::Sgx { image, attributes, xfrm, misc_select, signed } => {
                let mut text = format!(
                    "    attributes {attributes}, XFRM {xfrm}, MISCSELECT {misc_select}\n    image {image}\n"
                );
                if let Some(SgxSigned { mrsigner, .. }) = signed {
                    text += &format!("    MRSIGNER {mrsigner}\n");
                }
                text
            }
        }
    }
}
