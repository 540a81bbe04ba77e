// SPDX-License-Identifier: Apache-2.0

//! `steward init`: a root, an intermediate and a policy that lets nothing in yet.

use std::path::Path;

use command_line::files::Access;
use command_line::{OrExit, files, hex, print};
use evidence_crypto::{AwsLc, Crypto};
use steward_core::{PemKey, Signer, SigningAlgorithm};
use steward_service::{clock, establish};
use zeroize::Zeroizing;

use crate::cli::InitArgs;
use crate::exit::{Code, Failure};

/// The policy to begin with.
const POLICY: &str = include_str!("policy.toml");

pub(crate) fn run(args: &InitArgs) -> Result<(), Failure> {
    let path = |name: &str| args.dir.join(name);
    let (root_key, root_crt) = (path("root.key"), path("root.crt"));
    let (key, crt, policy) = (path("steward.key"), path("steward.crt"), path("policy.toml"));
    files::check_absent(&[&root_key, &root_crt, &key, &crt, &policy])?;

    let Intermediate { signer, pem: key_pem, about, options } = intermediate(args, &key)?;
    let authority = establish(&args.name, clock::now(), &*signer)?;

    files::create_folder(&args.dir)?;
    let root_pem = evidence_pki::to_pem("CERTIFICATE", &authority.root);
    let chain = evidence_pki::to_pem("CERTIFICATE", &authority.intermediate) + &root_pem;
    let root_key_pem = pem(&authority.root_key)?;
    let mut list: Vec<(&Path, &[u8], Access)> = vec![
        (&root_key, root_key_pem.as_bytes(), Access::Secret),
        (&root_crt, root_pem.as_bytes(), Access::Public),
        (&crt, chain.as_bytes(), Access::Public),
        (&policy, POLICY.as_bytes(), Access::Public),
    ];
    if let Some(pem) = &key_pem {
        list.push((&key, pem.as_bytes(), Access::Secret));
    }
    files::create_all(&list)?;
    print(&format!(
        "Made in {dir}:\n\
         \x20 root.crt     what relying parties trust; give it to them\n\
         \x20 root.key     its key; needed only for a new intermediate, so put it away\n\
         \x20 steward.crt  the issuing certificate and the root\n\
         {about}\
         \x20 policy.toml  which evidence gets a certificate: nothing, until you say what\n\
         \n\
         SHA-256 fingerprint of the root:\n\
         \x20 {fingerprint}\n\
         \n\
         Next: say in {policy} what to let in, see what it says, and start:\n\
         \x20 steward policy check {policy}\n\
         \x20 steward serve --crt {crt} {options} --policy {policy}\n",
        dir = args.dir.display(),
        policy = policy.display(),
        crt = crt.display(),
        fingerprint = hex(&AwsLc.sha256(&[&authority.root])),
    ))
}

/// The key that signs certificates of Keeps.
struct Intermediate {
    signer: Box<dyn Signer>,
    /// What goes into its file, if it is in one.
    pem: Option<Zeroizing<String>>,
    /// The line about it in the list of files.
    about: &'static str,
    /// How `steward serve` finds it.
    options: String,
}

fn intermediate(args: &InitArgs, key: &Path) -> Result<Intermediate, Failure> {
    #[cfg(feature = "pkcs11")]
    if let Some(signer) = crate::pkcs11::Pkcs11Key::open(&args.pkcs11)? {
        let text = |option: &Option<String>| option.clone().unwrap_or_default();
        return Ok(Intermediate {
            signer: Box::new(signer),
            pem: None,
            about: "",
            options: format!(
                "--pkcs11-module {} --pkcs11-token '{}' --pkcs11-key-label '{}'",
                args.pkcs11.pkcs11_module.as_deref().unwrap_or(Path::new("")).display(),
                text(&args.pkcs11.pkcs11_token),
                text(&args.pkcs11.pkcs11_key_label),
            ),
        });
    }
    #[cfg(not(feature = "pkcs11"))]
    let _ = args;
    let signer = generate()?;
    Ok(Intermediate {
        pem: Some(pem(&signer)?),
        signer: Box::new(signer),
        about: "  steward.key  its key\n",
        options: format!("--key {}", key.display()),
    })
}

/// A new key on P-384.
fn generate() -> Result<PemKey, Failure> {
    PemKey::generate(SigningAlgorithm::EcdsaP384Sha384)
        .or_exit_with(Code::Failed, || "cannot make a key")
}

/// The key's file.
fn pem(key: &PemKey) -> Result<Zeroizing<String>, Failure> {
    key.to_pem().or_exit_with(Code::Failed, || "cannot write a key")
}

#[cfg(test)]
mod tests {
    use steward_policy::Policy;

    use super::*;

    #[test]
    fn the_first_policy_lets_nothing_in() {
        assert_eq!(Policy::parse(POLICY).unwrap().platforms(), []);
    }

    /// Every example in it becomes a policy that is accepted, once its `#` are taken away.
    #[test]
    fn the_examples_in_the_first_policy_are_right() {
        let uncommented: String = POLICY
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n")
            .collect();
        let policy = Policy::parse(&uncommented).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(policy.platforms().len(), 3);
    }
}
