// SPDX-License-Identifier: Apache-2.0

//! `steward development`: the whole way from a request to a certificate on any machine.
//!
//! The evidence has the format of SEV-SNP or SGX and is verified by the same code, but it is signed under a root
//! that was made here. Whoever has that root's key can claim anything, so a Steward takes such evidence
//! only if its policy names the root and its command line says `--development`.

use std::path::Path;
use std::time::Duration;

use command_line::files::Access;
use command_line::{OrExit, files, print, unhex};
use evidence_development::{Binding, Curve, Guest, Key, Root};
use steward_claims::Workload;
use steward_service::clock;

use crate::cli::{DevelopmentCommand, DevelopmentRequestArgs, StandIn};
use crate::exit::{Code, Failure};

/// A development root is soon forgotten, and should not be good for ever then.
const LIFETIME: Duration = Duration::from_secs(365 * 86_400);

pub(crate) fn run(command: &DevelopmentCommand) -> Result<(), Failure> {
    match command {
        DevelopmentCommand::Root { dir } => root(dir),
        DevelopmentCommand::Request(args) => request(args),
    }
}

fn root(dir: &Path) -> Result<(), Failure> {
    let (key, crt, policy) = (dir.join("root.key"), dir.join("root.crt"), dir.join("policy.toml"));
    files::check_absent(&[&key, &crt, &policy])?;
    let root = Root::create(clock::now(), LIFETIME)
        .or_exit_with(Code::Failed, || "cannot make a development root")?;
    let failed = || "cannot write a development root";
    let certificate = root.certificate_pem().or_exit_with(Code::Failed, failed)?;
    files::create_folder(dir)?;
    files::create_all(&[
        (&key, root.key_pem().or_exit_with(Code::Failed, failed)?.as_bytes(), Access::Secret),
        (&crt, certificate.as_bytes(), Access::Public),
        (&policy, policy_text(&certificate).as_bytes(), Access::Public),
    ])?;
    print(&format!(
        "Made in {dir}:\n\
         \x20 root.crt     the development root\n\
         \x20 root.key     its key: whoever has it can claim anything\n\
         \x20 policy.toml  a policy that lets in evidence under this root, and nothing else\n\
         \n\
         Next: start a Steward with that policy and --development, and make a request:\n\
         \x20 steward development request --root {dir}\n",
        dir = dir.display()
    ))
}

fn policy_text(certificate: &str) -> String {
    format!(
        "# For trying things out: lets in development evidence, which proves nothing.\n\
         \n\
         [certificate]\n\
         lifetime = \"1d\"\n\
         \n\
         [development]\n\
         root = \"\"\"\n{}\"\"\"\n",
        // What PEM is made of needs no escapes in TOML.
        certificate.replace('\r', "")
    )
}

fn request(args: &DevelopmentRequestArgs) -> Result<(), Failure> {
    files::check_absent(&[&args.out, &args.key_out])?;
    let bad = |message: &str| Failure::msg(Code::Usage, message);
    if let Some(digest) = &args.workload {
        Workload::new(args.slug.as_deref(), digest)
            .or_exit_with(Code::Usage, || "this is no workload")?;
    } else if args.slug.is_some() {
        return Err(bad("--slug needs --workload: a name without a digest says nothing"));
    }
    let nonce = match args.nonce.as_deref() {
        Some(digits) => Some(unhex(digits).ok_or_else(|| bad("--nonce takes hexadecimal digits"))?),
        None => None,
    };
    let measurement = args.measurement.as_deref().map(unhex);
    let wrong_size = |digits| {
        let message = format!("--measurement takes {digits} hexadecimal digits");
        Failure::msg(Code::Usage, message)
    };
    let binding = Binding {
        slug: args.slug.as_deref(),
        workload: args.workload.as_deref(),
        nonce: nonce.as_deref(),
    };

    let root = Root::from_pem(
        &files::read_text(&args.root.join("root.key"))?,
        &files::read_text(&args.root.join("root.crt"))?,
    )
    .or_exit_with(Code::Input, || format!("cannot use the root in {}", args.root.display()))?;
    let failed = || "cannot make the request";
    let key = Key::generate(Curve::P384).or_exit_with(Code::Failed, failed)?;
    let now = clock::now();
    let request = if args.stand_in == Some(StandIn::Sgx) {
        let measurement = sized::<32>(measurement).ok_or_else(|| wrong_size(64))?;
        root.sgx_stand_in(now)
            .and_then(|platform| platform.request(&key, enclave(&measurement), &binding))
    } else {
        let measurement = sized(measurement).ok_or_else(|| wrong_size(96))?;
        let guest = Guest { measurement, ..Guest::default() };
        let attester = match args.stand_in {
            Some(_) => root.snp_stand_in(now),
            None => root.attester(now),
        };
        attester.and_then(|attester| match args.published {
            true => attester.published_request(&key, &guest),
            false => attester.request(&key, &guest, &binding),
        })
    }
    .or_exit_with(Code::Failed, failed)?;
    files::create_all(&[
        (
            &args.key_out,
            key.to_pem().or_exit_with(Code::Failed, failed)?.as_bytes(),
            Access::Secret,
        ),
        (&args.out, &request, Access::Public),
    ])?;
    print(&format!(
        "Made {key}, and {out} with development evidence for it.\n\
         \n\
         Next: send it to a Steward:\n\
         \x20 curl --data-binary @{out} -H 'Content-Type: application/pkcs10' \
         -H 'Accept: application/pem-certificate-chain' http://localhost:3000/v1/certificates\n",
        key = args.key_out.display(),
        out = args.out.display()
    ))
}

/// A measurement of so many bytes; zeros if none was given.
fn sized<const N: usize>(bytes: Option<Option<Vec<u8>>>) -> Option<[u8; N]> {
    bytes.map_or(Some([0; N]), |bytes| bytes?.try_into().ok())
}

/// The report of an enclave of that measurement, in 64-bit mode, that may not be debugged (Intel SDM volume 3D,
/// `REPORT`).
fn enclave(measurement: &[u8; 32]) -> [u8; 384] {
    let mut report = [0; 384];
    // ATTRIBUTES: INIT and MODE64BIT.
    report[48] = 5;
    // MRENCLAVE.
    report[64..96].copy_from_slice(measurement);
    report
}

#[cfg(test)]
mod tests {
    use steward_policy::Policy;

    use super::*;

    #[test]
    fn the_policy_names_the_root() {
        let root = Root::create(clock::now(), LIFETIME).unwrap();
        let text = policy_text(&root.certificate_pem().unwrap());
        let policy = Policy::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(policy.development_roots(), [root.certificate_der().to_vec()]);
    }
}
